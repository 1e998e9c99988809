# ---
# jupyter:
#   jupytext:
#     formats: ipynb,.pct.py:percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Reading a profile
#
# How fast is a training run, how fast could it be, and where does the time go? Three tools, small
# enough for a CPU: the formulas, a capture of Nsight Systems, and a sweep over layouts.

# %%
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from IPython.display import Image, Markdown
from matplotlib.figure import Figure

from megatron_music.config import load_recipe
from megatron_music.costs.flops import equation3, model, model_causal, recipe_shape
from megatron_music.notebook import megatron_music, picture
from megatron_music.profiling.nsight.read import read_profile

QUICK = "NOTEBOOKS_QUICK" in os.environ  # as tests run it: seconds instead of minutes
WORK = Path(os.environ.get("NOTEBOOKS_QUICK", "..")) / "runs" / "notebook-profile"
WORK.mkdir(parents=True, exist_ok=True)
VOCABULARY = 425

# %% [markdown]
# ## Operations: three formulas, three answers
#
# A utilisation is operations per second over the peak. But which operations? *Equation 3* (Narayanan
# et al. 2021) counts what the hardware does when activations are recomputed; *model* counts what the
# model needs; *model, causal* leaves out the half of attention that the causal mask throws away.

# %%
lengths = (512, 1024, 2048, 4096, 8192)
formulas = {"equation 3": equation3, "model": model, "model, causal": model_causal}
figure = Figure(figsize=(8, 3), layout="constrained")
axes = figure.subplots()
for name, formula in formulas.items():
    shapes = [
        recipe_shape(load_recipe("article", [f"model.seq_length={s}"]), VOCABULARY) for s in lengths
    ]
    gflops = [formula(s) / (s.global_batch_size * s.seq_length) / 1e9 for s in shapes]
    axes.plot(lengths, gflops, "o-", label=name)
axes.set(xlabel="sequence length", ylabel="GFLOP a token", xscale="log", xticks=lengths)
axes.set_xticks(lengths, map(str, lengths))
axes.set_xticks([], minor=True)
axes.legend(frameon=False)
picture(figure)

# %% [markdown]
# At the article's 4096 the same run is 1.9 times as "efficient" by the first formula as by the last:
# **a utilisation without its formula's name means nothing.** On the command line:

# %%
megatron_music("profile flops article model.seq_length=4096")

# %% [markdown]
# ## Time: an Nsight capture
#
# `nsys export --type sqlite` turns a capture into a database of kernels with start and end in
# nanoseconds. Here is a small one, written by hand: two iterations in which matrix products,
# attention and the sum of gradients over GPUs (NCCL) take turns, the latter half hidden.

# %%
KERNELS = {
    "gemm": "sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n",
    "attention": "void flash::flash_fwd_kernel(Flash_fwd_params)",
    "communication": "ncclDevKernel_AllReduce_Sum_bf16_RING_LL",
    "optimizer": "void multi_tensor_apply_kernel<AdamFunctor<float>>",
}
ITERATION_MS = (
    ("gemm", 0, 30, 7),
    ("attention", 30, 50, 7),
    ("gemm", 52, 80, 7),
    ("communication", 70, 90, 20),  # on a stream of its own: 10 ms of 20 behind a product
    ("optimizer", 92, 97, 7),
)
capture = WORK / "capture.sqlite"
capture.unlink(missing_ok=True)
names = {kind: number for number, kind in enumerate(KERNELS, 1)}
rows = [
    ((start + offset) * 1_000_000, (end + offset) * 1_000_000, 0, stream, names[kind], names[kind])
    for offset in (0, 100)
    for kind, start, end, stream in ITERATION_MS
]
with closing(sqlite3.connect(capture)) as database:
    database.execute("CREATE TABLE StringIds (id INTEGER PRIMARY KEY, value TEXT NOT NULL)")
    database.executemany(
        "INSERT INTO StringIds VALUES (?, ?)", [(names[k], v) for k, v in KERNELS.items()]
    )
    database.execute(
        "CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INTEGER, end INTEGER, deviceId INTEGER, "
        "streamId INTEGER, demangledName INTEGER, shortName INTEGER)"
    )
    database.executemany("INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (?, ?, ?, ?, ?, ?)", rows)
    database.commit()

# %%
COLOURS = {
    "gemm": "#2f6fb5",
    "attention": "#2e9e4f",
    "communication": "#d1603c",
    "optimizer": "#9aa0a6",
}
figure = Figure(figsize=(10, 1.8), layout="constrained")
axes = figure.subplots()
for kind, colour in COLOURS.items():
    spans = [(on / 1e6, (off - on) / 1e6) for on, off, _, _, name, _ in rows if name == names[kind]]
    axes.broken_barh(spans, (0 if kind == "communication" else 1, 0.8), color=colour, label=kind)
axes.set_yticks([0.4, 1.4], ["stream 20", "stream 7"])
axes.set_xlabel("ms")
axes.legend(ncols=4, frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.3), fontsize=8)
picture(figure)

# %% [markdown]
# Time is measured as the union of intervals, never as a sum of kernels: two at once are not twice
# the time. *Hidden* is communication while something else computes; what is *exposed* is waiting,
# and the first thing to look at. White gaps are idle: the CPU is late.

# %%
(device,) = read_profile(capture).devices
print(f"span {device.span_ms:.0f} ms, busy {device.busy_share:.0%}, idle {device.idle_ms:.0f} ms")
print(
    f"communication {device.communication_ms:.0f} ms, hidden "
    f"{device.communication_hidden_share:.0%}, exposed {device.communication_exposed_ms:.0f} ms"
)
for kind, spent_ms in sorted(device.classes_ms.items(), key=lambda item: -item[1]):
    if spent_ms:
        print(f"{kind:14}{spent_ms:6.0f} ms  {spent_ms / device.span_ms:5.0%}")

# %% [markdown]
# A capture of your own, where there is a GPU (`profiling/README.md` says more):
#
#     nsys profile -t nvtx,cuda -o run --capture-range=cudaProfilerApi --capture-range-end=stop COMMAND
#     nsys export --type sqlite run.nsys-rep && megatron-music profile nsight run.sqlite
#
# ## Choice: a sweep
#
# Which layout is best on this machine? A sweep trains a few iterations in each and reports. Here a
# small one, on the machine that runs this notebook: three micro batches of a tiny model.

# %%
sweep = WORK / "small.yaml"
sweep.write_text(
    f"""
recipe: tiny
fixed: {{model.seq_length: 128, model.num_layers: 2, train.global_batch_size: 4}}
warmup_iters: 1
measured_iters: {2 if QUICK else 8}
timeout_s: 120
grid:
  train.micro_batch_size: {[4] if QUICK else [1, 2, 4]}
"""
)
megatron_music(f"profile sweep {sweep} -o {WORK}/sweep")

# %% [markdown]
# The report says it in a page that needs no network (`report.html`), as Markdown, as CSV and as a
# picture. Where the peak is known, or was measured as here, it has each configuration's utilisation
# as well, by all three formulas.

# %%
Image(filename=WORK / "sweep" / "report.png", width=800)

# %%
Markdown((WORK / "sweep" / "report.md").read_text().split("## Utilisation")[0])

# %% [markdown]
# ## Next
#
# - `make profile` runs the sweep for this machine; `profiling/sweeps/` holds those for GPUs.
# - `megatron-music profile nvml` watches GPUs while they work.
# - `megatron-music doctor` says what this machine has, and what it lacks.
