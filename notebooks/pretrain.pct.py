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
# # Pretraining, and what more of it gives
#
# The same small model, trained on the chorales by Megatron for ten seconds, a minute and a few
# minutes on a CPU; each then composes from the same random numbers. Watch the loss fall and hear
# what that means. All in all about five minutes on two cores.

# %%
import json
import os
from pathlib import Path

from matplotlib.figure import Figure

from megatron_music.generate.composer import Composer
from megatron_music.generate.song_request import Request
from megatron_music.notebook import megatron_music, picture, show

QUICK = "NOTEBOOKS_QUICK" in os.environ  # as tests run it: seconds instead of minutes
ROOT = Path(os.environ.get("NOTEBOOKS_QUICK", ".."))
DATA, RUNS = ROOT / "data" / "bach", ROOT / "runs" / "notebook"
ITERATIONS = {"a moment": 4} if QUICK else {"a moment": 40, "a minute": 250, "minutes": 1000}

# %% [markdown]
# ## Train
#
# `tiny` is a recipe of one layer, 256 wide: [tiny.yaml](../megatron_music/recipes/tiny.yaml).
# Any of its keys can be changed on the command line. A run that was interrupted resumes, one that
# is finished says so.

# %%
megatron_music(f"data build bach -o {DATA}")

# %%
for name, iterations in ITERATIONS.items():
    print(f"--- {name}: {iterations} iterations")
    run = RUNS / str(iterations)
    keys = f"train.train_iters={iterations} train.lr_warmup_iters={min(100, iterations // 4)}"
    keys += f" log.log_interval=10 log.eval_interval={max(1, iterations // 10)}"
    megatron_music(f"train tiny --data {DATA} --run {run} {keys}")

# %% [markdown]
# ## The loss
#
# Nats a token: 6.05 is guessing among 425 tokens, 3.77 knows how often each occurs. What falls
# first is the form (bars, tracks), then rhythm, then pitch. The dots are music held out.

# %%
figure = Figure(figsize=(9, 3.2), layout="constrained")
axes = figure.subplots()
for colour, (name, iterations) in zip(
    ("#9aa0a6", "#d1603c", "#2f6fb5"), ITERATIONS.items(), strict=False
):
    log = [json.loads(line) for line in (RUNS / str(iterations) / "log.jsonl").open()]
    steps = [line for line in log if line.get("lm_loss") is not None]
    checks = [line for line in log if line.get("validation_loss") is not None]
    axes.plot(
        [line["consumed_tokens"] / 1e6 for line in steps],
        [line["lm_loss"] for line in steps],
        color=colour,
        label=f"{name}: {checks[-1]['validation_loss']:.2f} held out",
    )
    axes.plot(
        [line["consumed_tokens"] / 1e6 for line in checks],
        [line["validation_loss"] for line in checks],
        ".",
        color=colour,
    )
axes.axhline(3.77, color="#bbbbbb", linestyle=":")
axes.set(xlabel="million tokens read", ylabel="nats a token")
axes.legend(frameon=False)
picture(figure)

# %% [markdown]
# ## The music
#
# The checkpoint becomes a Hugging Face folder, checked logit by logit against Megatron's model, and
# composes eight bars for four voices. Form is never wrong, since the grammar sees to it: what
# differs is the music.

# %%
for name, iterations in ITERATIONS.items():
    run = RUNS / str(iterations)
    megatron_music(f"export {run} -o {run}/hf")
    song = next(Composer.load(run / "hf").compose(Request(seed=7, bars=4 if QUICK else 8)))
    show(song.piece, f"after {name}: {iterations} iterations")

# %% [markdown]
# ## Next
#
# - `make pretrain` trains a little longer and does all of the above in one command; with GPUs it
#   trains the article's model on all of them.
# - Change the recipe: `megatron-music train tiny --data data/bach model.num_layers=4 train.lr=2e-3`.
# - How good is it? `megatron-music evaluate RUN/hf --data DIR -o REPORT`: see
#   [evaluation.md](../docs/evaluation.md).
# - [compose.ipynb](compose.ipynb): steer a trained model.
