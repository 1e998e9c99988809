"""Trainings of eight iterations, one for each thing to prove, and how far their losses differ."""

import os
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from megatron_music.profiling.sweep.subprocesses import RUN_OPTION, train_command, training_words
from megatron_music.train.run_dir import RunDir, read_log
from profiling.gpu_day.day import Day, Found

RECIPE = "tiny"
ITERATIONS, SAVED = 8, 4
SETTINGS = (
    f"train.train_iters={ITERATIONS}",
    f"log.save_interval={SAVED}",
    f"log.eval_interval={SAVED}",
    "log.eval_iters=2",
    "log.log_interval=1",
    "log.tensorboard=false",
    "log.sample_interval=0",
    "train.global_batch_size=4",  # for two data parallel ranks
    "train.optimizer=adam",  # Muon goes without the distributed optimizer
)
SMALL = ("model.num_layers=1", "model.seq_length=128", "train.global_batch_size=4")
"""Sizes of a dry run."""

AT_ONCE = 8
"""Trainings that share a GPU: most of their seconds are start-up on the CPU."""

SAME_NATS, ROUNDED_NATS = 0.02, 0.1
"""Bounds for losses of one arithmetic done in another order, and of another precision."""


@dataclass(frozen=True)
class Training:
    """A run to compare with `like`, whose losses may differ by `within_nats`."""

    name: str
    overrides: tuple[str, ...] = ()
    precision: str = "fp32"
    like: str = ""
    within_nats: float = SAME_NATS
    by: str = "engine"
    """`engine`, or `trainer` for Hugging Face's."""
    on: str = "any"
    """`any`, `gpu`, or `te` for a GPU with Transformer Engine; `cpu` runs beside a GPU's."""
    processes: int = 1


_SPREAD = "parallel.use_distributed_optimizer=true"

BEST = "auto"
"""The training that composes and is exported: in the precision that people use."""

FIRST = (
    Training("fp32"),
    Training("cpu", like="fp32", on="cpu"),
    Training(BEST, (), "auto", "fp32", ROUNDED_NATS),
    Training("fp16", (), "fp16", "fp32", ROUNDED_NATS, on="gpu"),
    Training("trainer", like="fp32", by="trainer"),
    Training(
        "dropout", ("model.hidden_dropout=0.1", "model.attention_dropout=0.1"), "auto", on="gpu"
    ),
    Training("distributed-optimizer", (_SPREAD,), "auto", BEST, on="gpu"),
    Training("muon", ("train.optimizer=muon",), "auto", on="gpu"),
    Training("recompute", ("train.recompute=full",), "auto", BEST, on="gpu"),
    Training(
        "local-layers", ("train.transformer_impl=local",), "auto", BEST, ROUNDED_NATS, on="te"
    ),
    Training("blend"),
)  # fmt: skip

LATER = (
    Training("fp32-resumed", like="fp32"),
    Training("auto-resumed", precision="auto", like=BEST, on="gpu"),
    Training("fine-tuned"),
)
"""What begins with a run of the first."""

ALONE, ALONE_AUTO = "one-device", "one-device-auto"
DIVISIBLE = ("model.num_layers=2", "train.micro_batch_size=2")
"""For PP=2 and DP=2."""

_TP = "parallel.tensor_model_parallel_size=2"
_PP = "parallel.pipeline_model_parallel_size=2"

LAYOUTS = (
    Training(ALONE),
    Training(ALONE_AUTO, precision="auto", on="gpu"),
    Training("TP2", (_TP,), like=ALONE, processes=2),
    Training("PP2", (_PP,), like=ALONE, on="gpu", processes=2),
    Training("DP2", (_SPREAD,), like=ALONE, on="gpu", processes=2),
    Training("TP2-auto", (_TP,), "auto", ALONE_AUTO, ROUNDED_NATS, on="gpu", processes=2),
    Training("trainer-DP2", like=ALONE, by="trainer", on="gpu", processes=2),
)
"""TP=2 takes sequence parallel where the norms can."""


@dataclass
class _Runs:
    """The trainings of a section: what they are given, and what they came to."""

    day: Day
    shared: tuple[str, ...] = ()
    """Overrides of all."""
    found: Found = field(default_factory=Found)

    def folder(self, name: str) -> Path:
        return self.day.work / name

    def chosen(self, trainings: Iterable[Training]) -> list[Training]:
        """Leave out what this machine cannot do."""
        day = self.day
        kinds = {"any", "gpu", "cpu"} if day.machine.gpus else {"any"}
        if day.machine.gpus and find_spec("transformer_engine"):
            kinds.add("te")
        known = {"auto", *day.machine.precisions}
        return [one for one in trainings if one.on in kinds and one.precision in known]

    def go(self, trainings: Sequence[Training]) -> None:
        """Run several trainings, side by side where a GPU does the work."""
        with ThreadPoolExecutor(1 if self.day.is_dry else AT_ONCE) as pool:
            try:
                for one, fault in zip(trainings, pool.map(self._run, trainings), strict=True):
                    self.found.check(one.name, fault)
            except BaseException:
                self.day.until = 0.0  # the others end too
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def compare(self, trainings: Iterable[Training]) -> None:
        """Note the largest difference of losses, and every one that is beyond its bound."""
        away = self.found.values.setdefault("largest_difference_nats", {})
        for one in trainings:
            if one.like:
                nats = largest_difference(self.folder(one.name), self.folder(one.like))
                away[f"{one.name} - {one.like}"] = nats
                if nats is not None and not nats <= one.within_nats:
                    fault = f"{nats:.4f} nats from {one.like}, more than {one.within_nats}"
                    self.found.check(one.name, fault)

    def _run(self, one: Training) -> str:
        day, run = self.day, self.folder(one.name)
        overrides = [*SETTINGS, *(SMALL if day.is_dry else ()), *self.shared, *one.overrides]
        overrides.append(f"train.precision={one.precision}")
        data = day.data
        if one.name == BEST:
            overrides.append(f"log.sample_interval={ITERATIONS}")
        if one.name == "blend":
            data = Path(f"{day.data}:0.7")
            overrides += ["--data", f"{self._second_set()}:0.3"]
        if one.name == "fine-tuned":
            overrides += ["--from", str(self.folder("fp32"))]
        if one.name.endswith("-resumed"):
            whole = self.folder(one.name.removesuffix("-resumed"))
            if not cut_back(whole, run):
                return f"{whole.name} left no checkpoint of iteration {SAVED}"
        environment = {"CUDA_VISIBLE_DEVICES": ""} if one.on == "cpu" else {}
        if one.on == "cpu" or day.is_dry:
            threads = max(1, day.machine.cores // (2 if one.on == "cpu" else one.processes))
            environment["OMP_NUM_THREADS"] = str(threads)
        command = self._command(one, data, run, overrides)
        return day.run(f"train-{run.name}", command, environment).fault

    def _command(
        self, one: Training, data: Path, run: Path, overrides: Sequence[str]
    ) -> Sequence[str]:
        day = self.day
        if one.by == "trainer":
            script = str(day.root / "launch" / "huggingface.py")
            words = [script, RECIPE, "--data", str(data), RUN_OPTION, str(run), *overrides]
            if one.processes > 1:
                launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
                return [day.python, *launcher, str(one.processes), *words]
            return [day.python, *words]
        if one.processes > 1:
            return train_command(one.processes, RECIPE, data, run, overrides)
        return [day.python, *training_words(RECIPE, data, run, overrides)]

    def _second_set(self) -> Path:
        second = self.day.work / "second-set"
        if not second.exists():
            shutil.copytree(self.day.data, second)
        return second


def largest_difference(one: Path, other: Path) -> float | None:
    """Return by how many nats the losses of two runs differ at most; None without a common one."""
    losses, others = (losses_of(run) for run in (one, other))
    both = losses.keys() & others.keys()
    return max((abs(losses[at] - others[at]) for at in both), default=None)


def losses_of(run: Path) -> dict[int, float]:
    """Return the training losses of a run by iteration, nats a token."""
    entries = read_log(RunDir(run))
    return {entry["iteration"]: entry["lm_loss"] for entry in entries if "lm_loss" in entry}


def cut_back(whole: Path, run: Path) -> bool:
    """Copy a run as if it had been killed after its first checkpoint; False if it has none."""
    if not RunDir(whole).step(SAVED).is_dir():
        return False
    shutil.copytree(whole, run, symlinks=True, dirs_exist_ok=True)
    folder = RunDir(run)
    for name in ("latest", "best"):
        (folder.checkpoints / name).unlink(missing_ok=True)
    for step in set(folder.steps()) - {SAVED}:
        shutil.rmtree(folder.step(step))
    (folder.checkpoints / "latest").symlink_to(folder.step(SAVED).name)
    return True


def train(day: Day) -> Found:
    """Train in every way that one device can, resume, fine-tune, export."""
    runs = _Runs(day)
    first, later = runs.chosen(FIRST), runs.chosen(LATER)
    runs.go(first)
    runs.go(later)
    runs.compare([*first, *later])
    runs.found.values["losses"] = {
        one.name: losses_of(runs.folder(one.name)) for one in [*first, *later]
    }
    best = runs.folder(BEST)
    runs.found.values["auto"] = day.machine.precisions[0]
    words = day.music("export", str(best), "-o", str(exported(day)))
    runs.found.check("export", day.run("export", words).fault)
    composed = list(RunDir(best).samples(ITERATIONS).glob("*.mid"))
    runs.found.check("composing during training", "" if composed else "no .mid was written")
    return runs.found


def exported(day: Day) -> Path:
    """Return where the section `train` puts its exported model."""
    return day.work / "exported"


def layouts(day: Day) -> Found:
    """Train on two devices in every layout, and compare with one."""
    runs = _Runs(day, DIVISIBLE)
    chosen = runs.chosen(LAYOUTS)
    for one in chosen:  # one after another: each has both devices
        runs.go([one])
    runs.compare(chosen)
    return runs.found


def no_second_device(day: Day) -> str:
    """Say why layouts cannot be tried; without a GPU two processes share the CPU."""
    if len(day.machine.gpus) == 1:
        return "one GPU; it needs two"
    return "one core; it needs two" if day.is_dry and (os.cpu_count() or 1) < 2 else ""
