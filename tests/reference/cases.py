"""Ask Megatron-LM 0.19 itself: its argument parser, its memory and its FLOPs formulas.

`megatron.training` comes with the megatron-core 0.19 wheel alone, which Python 3.11 cannot install
but can read. Where the wheel cannot be had, what asks is skipped.
"""

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from megatron_music.config import Recipe, load_recipe
from megatron_music.train.blend import Blend
from megatron_music.train.megatron_lm import megatron_lm_arguments

WHEEL = "megatron-core==0.19.2"
VOCABULARY_SIZE, PADDED = 425, 512
DATA, RUN = Path("data/lakh"), Path("runs/lakh")

TP2, PP2 = "parallel.tensor_model_parallel_size=2", "parallel.pipeline_model_parallel_size=2"
DISTRIBUTED = "parallel.use_distributed_optimizer=true"
SEQUENCE = "parallel.sequence_parallel=true"


@dataclass(frozen=True)
class Case:
    """A recipe over so many processes."""

    name: str
    overrides: tuple[str, ...] = ()
    world: int = 1

    def __str__(self) -> str:
        """Name it in a test's id."""
        keys = (override.rpartition(".")[2] for override in self.overrides)
        return ", ".join([self.name, *keys, f"{self.world} processes"])

    @property
    def recipe(self) -> Recipe:
        """The recipe without structural inputs, in bf16: what Megatron's memory figures assume."""
        given = ["train.precision=bf16", "model.structural_inputs=[]", *self.overrides]
        return load_recipe(self.name, given)

    @property
    def words(self) -> list[str]:
        """The argument list for `pretrain_gpt.py`."""
        return megatron_lm_arguments(self.recipe, Blend.of(DATA), RUN)


CASES = (
    Case("article"),
    Case("article", (TP2, SEQUENCE), 8),
    Case("article", (DISTRIBUTED,), 8),
    Case("article", (PP2, "train.lr_warmup_iters=0"), 2),
    Case("small", ("train.recompute=selective",), 4),
    Case("medium", (TP2, PP2, SEQUENCE), 16),
    Case("musenet", (), 16),
    Case("profile-small"),
    Case("profile-large", (TP2, "train.recompute=full"), 8),
    Case("tiny", ("log.eval_interval=0", "train.clip_grad=0", "train.train_iters=2")),
)


def answers() -> dict[Case, dict[str, Any]]:
    """Return Megatron's answers to every case; skips the test where they cannot be had."""
    pytest.importorskip("torch")
    wheel = _wheel()
    if wheel is None:
        pytest.skip(f"{WHEEL} cannot be had here")
    done = _ask(wheel)
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(zip(CASES, json.loads(done.stdout), strict=True))


@cache
def _ask(wheel: Path) -> subprocess.CompletedProcess[str]:
    questions = [{"words": case.words, "vocabulary": PADDED, "world": case.world} for case in CASES]
    environment = {"PYTHONPATH": str(wheel), "CUDA_DEVICE_MAX_CONNECTIONS": "1"}
    return subprocess.run(
        [sys.executable, str(Path(__file__).with_name("answer.py"))],
        input=json.dumps(questions),
        env=os.environ | environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


@cache
def _wheel() -> Path | None:
    folder = Path(tempfile.mkdtemp(prefix="megatron-core-"))
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", WHEEL]
    options = ["--python-version", "3.12", "--only-binary", ":all:", "--retries", "0"]
    subprocess.run(
        [*command, *options, "--timeout", "10", "--dest", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    wheels = list(folder.glob("*.whl"))
    if not wheels:
        return None
    with zipfile.ZipFile(wheels[0]) as archive:
        archive.extractall(folder)
    return folder
