"""A data set folder of synthetic music, and runs of the real program on it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from megatron_music.data.indexed import write_index
from megatron_music.tokenizer.huggingface import save_tokenizer
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary
from tests import warm

SMALL = [
    "train.global_batch_size=4",
    "train.micro_batch_size=1",
    "model.num_layers=2",
    "model.hidden_size=64",
    "model.num_attention_heads=4",
    "model.seq_length=128",
    "log.log_interval=1",
    "train.lr=6e-3",
    "train.seed=3",
    "train.optimizer=adam",
    "train.precision=fp32",
    "log.sample_interval=0",
]
"""A model that trains in seconds."""

Log = list[dict[str, Any]]


DRAWING = {
    "pieces": True,
    "transpositions": 12,
    "shuffle": True,
    "max_tracks": None,
    "fill": False,
}
"""What the manifest of a data set of pieces says of its windows."""


def scale_piece(vocabulary: Vocabulary, tonic: int, bars: int = 4) -> list[int]:
    """Make a piece of two tracks of rising scales: music that a small model learns quickly."""
    ids = [vocabulary.piece_start]
    for instrument in (0, 32):
        ids += [vocabulary.track_start, vocabulary.inst + instrument]
        for bar in range(bars):
            ids.append(vocabulary.bar_start)
            for degree in range(4):
                pitch = tonic + 2 * degree + bar
                ids += [vocabulary.note_on + pitch, vocabulary.time_delta + 4]
                ids.append(vocabulary.note_off + pitch)
            ids.append(vocabulary.bar_end)
        ids.append(vocabulary.track_end)
    return [*ids, vocabulary.piece_end]


def write_data(
    folder: Path,
    pieces: dict[str, int],
    lowest: int = 40,
    highest: int = 79,
    attributes: tuple[str, ...] = (),
    labels: tuple[str, ...] = (),
    bars: int = 4,
    is_expressive: bool = False,
) -> Path:
    """Write a data set folder of so many pieces a split, on tonics between these pitches.

    Each has so many bars, and the same `labels`, of the `attributes` of the vocabulary; one that
    `is_expressive` also a tempo and, in each bar, a velocity.
    """
    settings = TokenizerSettings(
        attributes=attributes, velocity=8 * is_expressive, tempo=is_expressive
    )
    vocabulary, random = Vocabulary(settings), np.random.default_rng(0)
    ids = [vocabulary.ids[word] for word in labels]
    (folder / "tokenizer").mkdir(parents=True)
    save_tokenizer(settings, folder / "tokenizer")
    for split, count in pieces.items():
        tonics = random.integers(lowest, highest + 1, count)
        music = [scale_piece(vocabulary, int(tonic), bars) for tonic in tonics]
        documents = [np.array([one[0], *ids, *one[1:]], np.uint16) for one in music]
        if is_expressive:
            documents = [expressive(document, vocabulary) for document in documents]
        (folder / f"{split}.bin").write_bytes(b"".join(d.tobytes() for d in documents))
        with (folder / f"{split}.idx").open("wb") as file:
            lengths = np.array([len(d) for d in documents], np.int32)
            write_index(file, lengths, np.dtype(np.uint16))
    return folder


def expressive(document: npt.NDArray[np.uint16], vocabulary: Vocabulary) -> Any:
    """Return a document with a tempo at its head and a velocity in each bar."""
    bars = np.flatnonzero(document == vocabulary.bar_start) + 1
    return np.insert(
        document,
        [1, *bars],
        [vocabulary.ids["TEMPO=120"]] + [vocabulary.velocity + 4] * len(bars),
    )


def write_pieces(folder: Path, pieces: dict[str, int], *, is_expressive: bool = False) -> Path:
    """Write a data set folder of whole pieces of eleven bars."""
    write_data(folder, pieces, 40, 60, bars=11, is_expressive=is_expressive)
    for split, count in pieces.items():
        np.save(folder / f"{split}.places.npy", np.array([[0, 11]] * count, np.int32))
    (folder / "manifest.json").write_text(json.dumps({"settings": DRAWING}))
    return folder


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a data set folder: 300 pieces of 120 tokens to train on, 40 to validate."""
    folder = tmp_path_factory.mktemp("sets") / "scales"
    return write_data(folder, {"train": 300, "valid": 40, "test": 10})


def need_devices(processes: int) -> None:
    """Skip a test whose processes cannot have a GPU each on a machine with fewer GPUs."""
    torch = pytest.importorskip("torch")
    gpus = torch.cuda.device_count()
    if 0 < gpus < processes:
        pytest.skip(
            f"{processes} processes need as many GPUs, or none, and here are {gpus}; "
            "with CUDA_VISIBLE_DEVICES= they run on the CPU"
        )


def launch(processes: int, *arguments: str, on_cpu: bool = False) -> list[str]:
    """Return the command that trains on so many processes; skips the test without their GPUs."""
    if processes == 1:
        return [sys.executable, "-m", "megatron_music", *arguments]
    if not on_cpu:
        need_devices(processes)
    runner = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    count = ["--nproc-per-node", str(processes)]
    return [*runner, *count, "-m", "megatron_music", *arguments]


def execute(*command: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end with one thread a process."""
    return warm.run(command, environment=os.environ | {"OMP_NUM_THREADS": "1"} | settings)


def read(run: Path) -> Log:
    """Read every line of a run's log."""
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def losses(run: Path) -> dict[int, float]:
    """Return the training loss of every logged iteration."""
    return {entry["iteration"]: entry["lm_loss"] for entry in read(run) if "lm_loss" in entry}


@pytest.fixture(scope="session")
def train(data: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Train on the data set: `train(run, *overrides, processes=1)`; fails the test on an error.

    `on_cpu` hides the machine's GPUs.
    """

    def go(
        run: Path, *overrides: str, processes: int = 1, on_cpu: bool = False
    ) -> subprocess.CompletedProcess[str]:
        arguments = [
            "train",
            "tiny",
            "--data",
            str(data),
            "--run-dir",
            str(run),
            *SMALL,
            *overrides,
        ]
        hidden = {"CUDA_VISIBLE_DEVICES": ""} if on_cpu else {}
        done = execute(*launch(processes, *arguments, on_cpu=on_cpu), **hidden)
        assert done.returncode == 0, done.stderr
        return done

    return go
