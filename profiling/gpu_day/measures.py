"""What is measured: speed, where the time goes, NVML's figures, a sweep, composing."""

import csv
import filecmp
import json
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import Any

from megatron_music.profiling.nvml.recording import read_samples, summarize
from megatron_music.profiling.sweep.spec import QUIET
from megatron_music.profiling.sweep.subprocesses import RUN_OPTION, training_words
from megatron_music.train.datasets import read_window_settings
from megatron_music.train.run_dir import RunDir, read_log
from profiling.gpu_day.commands import started
from profiling.gpu_day.day import Day, Found
from profiling.gpu_day.trainings import RECIPE, SETTINGS, SMALL, exported

PACKAGES = (
    *("torch", "triton", "megatron-core", "transformer-engine", "transformers", "accelerate"),
    *("numpy", "numba", "symusic", "nvidia-ml-py", "megatron-music"),
)
TRACED = range(7, 14)
"""Iterations after the seventh, up to the fourteenth."""

WATCH_S, LOOK_S = 10.0, 0.2
SWEEPS = Path("profiling") / "sweeps"
TESTS = (
    *(
        "tests/train/test_trainer.py",
        "tests/train/test_finetuning.py",
        "tests/train/test_linear.py",
    ),
    *("tests/train/test_distributed.py", "tests/huggingface", "tests/export"),
)
SMI_FIELDS = (
    *("utilization.gpu", "memory.used", "power.draw", "clocks.sm", "temperature.gpu"),
)  # fmt: skip


def machine(day: Day) -> Found:
    """Note what this machine is: `doctor`, versions, `nvidia-smi`."""
    found = Found()
    done = day.run("doctor", day.music("doctor", "--json"))
    found.check("doctor", "" if done.code in (0, 1) else done.fault)
    report = json.loads(done.output[done.output.index("{") :])
    lacks = [one["name"] for one in report["findings"] if one["status"] == "needed"]
    found.values["doctor"] = {one["name"]: one["found"] for one in report["findings"]}
    found.values["doctor_lacks"] = lacks
    if day.machine.gpus:
        found.values["capability"] = day.machine.gpus[0].capability
        seen = found.values["doctor"].get("GPU", "")
        found.check("doctor", "" if day.machine.name in seen else f"GPU: {seen!r}")
        found.check("nvidia-smi", day.run("nvidia-smi", ["nvidia-smi"]).fault)
    return found


def bench(day: Day) -> Found:
    """Time the engine beside Hugging Face's Trainer and plain torch."""
    page = day.output / "bench.md"
    words = ["--data", str(day.data), "-o", str(page), "--rounds", "1"]
    if day.is_dry:
        words += ["--recipe", RECIPE, "--precision", "fp32", "--iterations", "2", *SMALL]
    else:
        words += [
            "--recipe",
            "article",
            "--precision",
            day.machine.precisions[0],
            "--iterations",
            "25",
        ]
        words += ["--threads", str(min(8, day.machine.cores))]
    program = str(day.root / "profiling" / "benchmarks" / "train.py")
    found = Found()
    found.check("benchmark", day.run("bench", [day.python, program, *words]).fault)
    if page.is_file():
        found.values["page"] = page.read_text(encoding="utf-8")
    return found


def where(day: Day) -> Found:
    """Trace some iterations with torch's profiler; on a CPU the run times its own phases."""
    run, found = RunDir(day.work / "where"), Found()
    recipe = RECIPE if day.is_dry else "article"
    first, last = (1, 4) if day.is_dry else (TRACED.start, TRACED.stop)
    overrides = [*QUIET, *(SMALL if day.is_dry else ())]
    overrides += [f"train.train_iters={last}", "log.use_pytorch_profiler=true"]
    overrides += [f"log.profile_step_start={first}", f"log.profile_step_end={last}"]
    words = training_words(recipe, day.data, run.path, overrides)
    if not found.check("training", day.run("where", [day.python, *words]).fault):
        return found
    if not found.check("trace", "" if run.trace.is_file() else f"no {run.trace.name}"):
        return found
    shutil.copy(run.trace, day.output / run.trace.name)
    if day.is_dry:
        found.values["phases_s"] = read_log(run)[-1].get("phases_s")
        found.check("phases", "" if found.values["phases_s"] else "the log has none")
        return found
    read = day.run("where-read", day.music("profile", "nsight", str(run.trace), "--json"))
    if found.check("profile nsight", read.fault):
        found.values |= json.loads(read.output[read.output.index("{") :])
    return found


def nvml(day: Day) -> Found:
    """Read NVML while a model trains, with `nvidia-smi` beside it."""
    run, found = day.work / "load", Found()
    overrides = [*QUIET, "train.precision=auto", "train.train_iters=400"]
    overrides += ["train.micro_batch_size=4", "train.global_batch_size=16"]
    words = training_words("profile-medium", day.data, run, overrides)
    smi = ["nvidia-smi", f"--query-gpu={','.join(SMI_FIELDS)}", "--format=csv,nounits"]
    smi += ["-lms", str(round(LOOK_S * 1000)), "-i", "0"]
    ours = day.music("profile", "nvml", "--json", "--interval", str(LOOK_S))
    with started([day.python, *words], day.log("nvml-load"), day.root) as load:
        while not read_log(RunDir(run)) and load.poll() is None and day.left_s > WATCH_S:
            time.sleep(LOOK_S)
        if load.poll() is not None:
            found.check("training", "it ended before it was watched; see nvml-load.txt")
            return found
        with (
            started(smi, day.log("nvml-smi"), day.root),
            started(ours, day.log("nvml-ours"), day.root) as reader,
        ):
            time.sleep(min(WATCH_S, day.left_s))
            reader.send_signal(signal.SIGINT)
            reader.wait(timeout=5)
    found.values["nvidia_smi"] = smi_means(day.log("nvml-smi").read_text(encoding="utf-8"))
    found.values["ours"] = our_means(day.log("nvml-ours"))
    return found


def smi_means(text: str) -> dict[str, float]:
    """Return the mean of each column of nvidia-smi's CSV; what is not a number is left out."""
    rows = [[cell.strip() for cell in line] for line in csv.reader(text.splitlines())]
    means = {}
    for place, heading in enumerate(rows[0] if rows else ()):
        cells = [row[place] for row in rows[1:] if len(row) == len(rows[0])]
        numbers = [float(cell) for cell in cells if cell.replace(".", "", 1).isdigit()]
        if numbers:
            means[heading] = round(fmean(numbers), 2)
    return means


def our_means(recording: Path) -> dict[str, Any]:
    """Return what `profile nvml --json` saw of the first GPU, in the units of nvidia-smi."""
    duration_s, (gpu, *_) = summarize(read_samples(recording))
    energy_w = gpu.energy_j / duration_s if gpu.energy_j and duration_s else None
    return {
        "samples": gpu.samples,
        "duration_s": duration_s,
        "gpu_utilization_percent": gpu.mean_utilization,
        "max_memory_mib": (gpu.max_memory_bytes or 0) / (1 << 20),
        "power_w": gpu.mean_power_w,
        "power_from_energy_w": energy_w,
        "sm_clock_mhz": gpu.mean_sm_clock_mhz,
        "max_temperature_c": gpu.max_temperature_c,
        "throttled": gpu.throttled,
    }


def sweep(day: Day) -> Found:
    """Sweep a few configurations: speed, utilisation, memory beside its estimate."""
    file = day.root / SWEEPS / ("gpu-day-dry.yaml" if day.is_dry else "gpu-day.yaml")
    folder, found = day.work / "sweep", Found()
    budget = f"{max(10.0, day.left_s - 15):.0f}s"
    words = day.music("profile", "sweep", str(file), "-o", str(folder), "--budget", budget)
    found.check("sweep", day.run("sweep", words).fault)
    report = folder / "report.csv"
    if report.is_file():
        shutil.copy(report, day.output / "sweep.csv")
        with report.open(encoding="utf-8", newline="") as lines:
            found.values["rows"] = list(csv.DictReader(lines))
        found.values["page"] = (folder / "report.md").read_text(encoding="utf-8")
    return found


def sample(day: Day) -> Found:
    """Compose by the same seeds on the GPU and on the CPU."""
    model, found = day.model or exported(day), Found()
    if not found.check("model", "" if model.is_dir() else f"no {model}; run the section train too"):
        return found
    places: Mapping[str, Mapping[str, str]] = {"cpu": {"CUDA_VISIBLE_DEVICES": ""}}
    if day.machine.gpus:
        places = {"gpu": {}, **places}
    count, bars = ("1", "4") if day.is_dry else ("4", "8")
    for place, environment in places.items():
        folder = str(day.work / f"music-{place}")
        words = ["sample", str(model), "-o", folder, "-n", count, "--bars", bars, "--seed", "7"]
        done = day.run(f"sample-{place}", day.music(*words), environment)
        found.check(place, done.fault)
        found.values[f"{place}_s"] = round(done.seconds, 2)
    songs = sorted((day.work / "music-cpu").glob("*.mid"))
    found.check("songs", "" if len(songs) == int(count) else f"{len(songs)} of {count}")
    if day.machine.gpus:
        others = [day.work / "music-gpu" / song.name for song in songs]
        same = [
            other.is_file() and filecmp.cmp(song, other, shallow=False)
            for song, other in zip(songs, others, strict=True)
        ]
        found.values["the_same_on_both"] = f"{sum(same)} of {len(songs)}"
    return found


def stock(day: Day) -> Found:
    """Train with Megatron-LM's own `pretrain_gpt.py`."""
    script, run = str(day.root / "launch" / "megatron_lm.sh"), str(day.work / "stock")
    plain = "model.structural_inputs=[]"  # Megatron-LM has no others
    found, data = Found(), day.data
    if read_window_settings(data) is not None:  # Megatron-LM draws no windows
        data = day.work / "windows"
        convert = day.music("data", "convert", str(day.data), "-o", str(data))
        found.check("convert", day.run("convert", convert).fault)
    words = [script, RECIPE, "--data", str(data), RUN_OPTION, run, *SETTINGS, plain]
    environment = {"MUSIC_PYTHON": day.python, "NPROC": "1"}
    found.check("megatron_lm.sh", day.run("megatron-lm", words, environment).fault)
    return found


def tests(day: Day) -> Found:
    """Run the tests of training and export on this device."""
    files: Sequence[str] = TESTS if not day.is_dry else ("tests/train/test_linear.py",)
    words = ["-m", "pytest", *files, "-q", "-p", "no:cacheprovider", "--timeout", "120"]
    if not day.is_dry and find_spec("xdist"):
        words += ["-n", "6", "--dist", "loadfile"]
    done = day.run("tests", [day.python, *words], {"OMP_NUM_THREADS": "2"})
    found = Found()
    found.check("pytest", done.fault)
    lines = [line for line in done.output.splitlines() if line.strip()]
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    found.values |= {"result": lines[-1] if lines else "", "failed": failed}
    return found


def no_tests(day: Day) -> str:
    """Say what the tests lack."""
    if not (day.root / "tests").is_dir():
        return "no tests in this copy"
    lacking = [name for name in ("pytest", "hypothesis", "pytest_timeout") if not find_spec(name)]
    return f"not installed: {', '.join(lacking)}" if lacking else ""


def no_gpu(day: Day) -> str:
    """Say that there is no GPU."""
    return "no GPU here" if day.is_dry else ""
