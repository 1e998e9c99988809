"""The benchmark of the canonical split counts every cell of its pieces once."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megatron_music.data.settings import SPLITS, BuildSettings
from megatron_music.errors import InputError
from megatron_music.evaluate.corpus import SplitWindows, read_split
from megatron_music.evaluate.heldout import WindowLosses
from megatron_music.evaluate.voices import voice_cells
from megatron_music.tokenizer.codec import decode
from megatron_music.tokenizer.structure import INPUTS
from megatron_music.tokenizer.vocabulary import Vocabulary, load_vocabulary
from tests.generate.conftest import untrained
from tests.profiling.test_benchmarks import BENCHMARKS, module

__all__ = ["module"]

COUNTS = {"train": 6, "valid": 3, "test": 3}


def chorales(seed: int = 0) -> dict[str, list[list[list[int]]]]:
    """Make pieces of two to four bars, the last mostly broken off, with held notes and silence."""
    random = np.random.default_rng(seed)
    made: dict[str, list[list[list[int]]]] = {}
    for split, count in COUNTS.items():
        made[split] = []
        for _ in range(count):
            changes = random.random((int(random.integers(32, 65)), 4)) < 0.2
            steps = random.integers(-2, 3, changes.shape) * changes
            pitches = np.array([72, 67, 60, 48]) + np.cumsum(steps, axis=0)
            pitches[:3, 1] = -1
            made[split].append(pitches.tolist())
    return made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "jsb16.json").write_text(json.dumps(chorales()))
    return tmp_path / "jsb16.json"


def cells_of(windows: SplitWindows, vocabulary: Vocabulary) -> dict[int, np.ndarray]:
    """Return the cells of each piece as its windows hold them, which must not overlap."""
    parts: dict[int, dict[int, np.ndarray]] = {}
    for tokens, group, (bar, _) in zip(
        windows.tokens, windows.groups.tolist(), windows.places.tolist(), strict=True
    ):
        of_piece = parts.setdefault(group, {})
        assert bar not in of_piece
        of_piece[bar] = voice_cells(decode(tokens, vocabulary))
    return {
        group: np.concatenate([part for _, part in sorted(of.items())], axis=1)
        for group, of in parts.items()
    }


def test_windows_side_by_side_hold_every_cell_once(module: Any, path: Path, tmp_path: Path) -> None:
    jsb16 = module("jsb16")
    pieces = jsb16.read_chorales(path)
    settings = BuildSettings(bars=2, hop=1, transpositions=3, shuffle=False)
    folder = jsb16.build_data(pieces, tmp_path / "out", settings, 1)
    vocabulary = load_vocabulary(folder / "tokenizer")
    for split in SPLITS[1:]:
        found = cells_of(read_split(folder, split, 1000, vocabulary), vocabulary)
        for group, cells in enumerate(pieces[split]):
            length = cells.shape[1]
            assert (found[group][:, :length] == cells).all()
            assert (found[group][:, length:] == -1).all()
            assert found[group].shape[1] == -(-length // 16) * 16
    train = read_split(folder, "train", 1000, vocabulary)
    bars = sum(-(-cells.shape[1] // 16) for cells in pieces["train"])
    assert len(train) == 3 * (bars - len(pieces["train"]))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda pieces: pieces.pop("test"), "'test'"),
        (lambda pieces: pieces["train"][2].append([1, 2, 3]), "inhomogeneous"),
        (lambda pieces: pieces["valid"][1][0].__setitem__(0, 128), r"piece 1 of valid"),
        (lambda pieces: pieces["valid"].append([[-1] * 4]), r"piece 3 of valid"),
    ],
)
def test_another_file_is_refused_in_one_line(
    module: Any, path: Path, spoil: Any, told: str
) -> None:
    pieces = json.loads(path.read_text())
    spoil(pieces)
    path.write_text(json.dumps(pieces))
    with pytest.raises(InputError, match=told):
        module("jsb16").read_chorales(path)


def test_all_nats_are_shared_among_the_cells_of_the_pieces(
    module: Any, path: Path, tmp_path: Path
) -> None:
    jsb16 = module("jsb16")
    pieces = jsb16.read_chorales(path)
    settings = BuildSettings(bars=2, hop=2, shuffle=False)
    folder = jsb16.build_data(pieces, tmp_path / "out", settings, 1)
    ids = load_vocabulary(folder / "tokenizer")
    documents = read_split(folder, "test", 1000, ids)
    # A token costs as many nats as its bar in the window says, those of no bar ten.
    readings = []
    for tokens in documents.tokens:
        bar, inside, costs = -1, False, []
        for token in tokens.tolist():
            bar = -1 if token == ids.track_start else bar + (token == ids.bar_start)
            inside |= token == ids.bar_start
            costs.append(float(1 + bar) if inside else 10.0)
            inside &= token != ids.bar_end
        nats = np.array(costs[1:])
        none = np.zeros(len(nats))
        readings.append(WindowLosses(tokens[1:], nats, none + 0.5, none > 0, 0))
    found = jsb16.score(readings, documents, pieces["test"], ids)
    cells = sum(cells.size for cells in pieces["test"])
    tokens = sum(len(of.nats) for of in readings)
    total = sum(of.nats.sum() for of in readings)
    assert (found["pieces"], found["cells"], found["tokens"]) == (3, cells, tokens)
    assert found["nats a cell"].value == pytest.approx(total / cells)
    assert found["with the grammar's mask"].value == pytest.approx(
        (total - tokens * np.log(2)) / cells
    )
    frames = sum((of.nats == 10).sum() for of in readings)
    assert found["tokens of no bar"] == pytest.approx(10 * frames / cells)
    windows = len(documents)
    bars = sum(-(-cells.shape[1] // 16) for cells in pieces["test"])
    costs = np.concatenate([of.nats for of in readings])
    assert found[jsb16.FIRST_BAR] == pytest.approx((costs == 1).sum() / (64 * windows))
    assert found[jsb16.LATER_BARS] == pytest.approx(
        2 * (costs == 2).sum() / (64 * (bars - windows))
    )


def test_a_model_that_takes_its_place_is_read_without_it_as_well(
    module: Any, path: Path, tmp_path: Path
) -> None:
    jsb16 = module("jsb16")
    pieces = jsb16.read_chorales(path)
    settings = BuildSettings(bars=2, hop=2, shuffle=False)
    folder = jsb16.build_data(pieces, tmp_path / "out", settings, 1)
    told = load_vocabulary(folder / "tokenizer").settings
    model = untrained(tmp_path / "hf", told, 320, INPUTS)
    scores = jsb16.read_splits(model, folder, pieces)
    assert len(scores) == 4
    known, unknown = (scores[f"test{name}"] for name in ("", ", place in the piece not told"))
    assert known["cells"] == unknown["cells"]
    assert known[jsb16.PLAIN].value != unknown[jsb16.PLAIN].value


@pytest.mark.slow
def test_the_benchmark_builds_trains_and_says_what_a_cell_costs(path: Path, tmp_path: Path) -> None:
    words = [
        str(path), "-o", str(tmp_path / "out"), "--bars", "2", "--transpositions", "2",
        "train.train_iters=2", "train.precision=fp32", "model.num_layers=1", "log.eval_interval=0",
        "model.hidden_size=32", "model.num_attention_heads=2", "model.seq_length=320",
        "log.sample_interval=0", "train.lr_warmup_iters=1",
    ]  # fmt: skip
    pytest.importorskip("megatron.core")
    program = [sys.executable, str(BENCHMARKS / "jsb16.py"), *words]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    assert (tmp_path / "out" / "jsb16.md").read_text(encoding="utf-8") in done.stdout
    cells = sum(4 * len(piece) for piece in chorales()["test"])
    [row] = [line for line in done.stdout.splitlines() if line.startswith("| test | ")]
    assert row.startswith(f"| test | 3 | {cells:,} | ")
    assert "0.407" in done.stdout
    # The folder holds windows of other bars.
    again = subprocess.run([*program, "--bars", "4"], capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert "bars 2 (asked: 4)" in again.stderr
