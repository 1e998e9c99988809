"""The benchmark of labels: real music by label, and songs of a model that has learned nothing."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megatron_music.data.build import build
from megatron_music.data.settings import BuildSettings
from megatron_music.data.sources.labels import folder_labels
from megatron_music.data.sources.open import folder_source, labelled
from megatron_music.errors import UsageError
from megatron_music.score.midi import write_midi
from megatron_music.score.notes import Piece
from megatron_music.tokenizer.vocabulary import load_vocabulary
from tests.generate.conftest import untrained
from tests.music import track
from tests.profiling.test_benchmarks import module

__all__ = ["module"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data set of whole pieces: quick tunes and slow ones, labelled by their folders."""
    folder = tmp_path_factory.mktemp("labels")
    stream = np.random.default_rng(0)
    for number in range(60):
        length = 2 if number % 2 else 8
        rows = [(at, at + length, int(stream.integers(60, 72))) for at in range(0, 128, length)]
        path = folder / "midi" / ("quick" if number % 2 else "slow") / f"{number}.mid"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_midi(Piece(4, 8, (track(0, *rows),)), path)
    source = labelled(folder_source(folder / "midi"), folder_labels("PACE"))
    settings = BuildSettings(bars=2, pieces=True, split=(50, 25, 25), density=False)
    build(source, folder / "data", settings)
    return folder / "data"


def wish(data: Path, *labels: str, model: Path | None = None) -> Namespace:
    return Namespace(data=data, model=model, labels=list(labels), n=4, seed=1, output=None)


def test_real_music_is_classified_and_songs_are_counted(
    module: Any, data: Path, tmp_path: Path
) -> None:
    hf = untrained(tmp_path / "hf", load_vocabulary(data / "tokenizer").settings)
    page = module("label_accuracy").measure(wish(data, "PACE=QUICK", "PACE=SLOW", model=hf))
    rows = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("| PACE")]
    assert [row[0].strip() for row in rows] == ["PACE=QUICK", "PACE=SLOW"]
    for row in rows:
        assert int(row[2]) > 0
        assert row[3].strip().startswith("100%")
        assert row[4].strip() == "4"


def test_a_label_that_is_not_there_is_named(module: Any, data: Path) -> None:
    with pytest.raises(UsageError, match=r"no label 'PACE=NONE'.* PACE=QUICK"):
        module("label_accuracy").measure(wish(data, "PACE=NONE", "PACE=SLOW"))
