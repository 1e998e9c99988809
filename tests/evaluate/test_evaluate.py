"""The commands `evaluate` and `rank`, on a small data set and a model that has learned nothing."""

import argparse
import dataclasses
import json
import re
import shutil
from importlib import import_module

import numpy as np
import pytest

from megatron_music.evaluate.comparison import SETS
from megatron_music.evaluate.voices import VOICE_FIGURES
from megatron_music.score.instruments import BASS, SOPRANO
from megatron_music.score.midi_writer import write_midi
from megatron_music.score.notes import Piece
from megatron_music.tokenizer.vocabulary import load_vocabulary, save_settings
from tests.cli.program import Program
from tests.generate.conftest import untrained
from tests.music import track
from tests.profiling.test_benchmarks import BENCHMARKS

pytestmark = pytest.mark.slow

SONGS = 10
WISH = ("evaluate", "hf", "--data", "data", "-n", str(SONGS), "--seed", "3")


def duet(seed: int) -> Piece:
    """Eight bars: a wandering soprano in eighths over a bass of held roots."""
    stream = np.random.default_rng(seed)
    tune = 67 + np.cumsum(stream.integers(-2, 3, 64))
    roots = stream.choice([36, 41, 43], 8)
    upper = [(2 * i, 2 * i + 2, p) for i, p in enumerate(np.clip(tune, 55, 90).tolist())]
    lower = [(16 * i, 16 * i + 16, p) for i, p in enumerate(roots.tolist())]
    return Piece(4, 8, (track(SOPRANO, *upper), track(BASS, *lower)))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """A folder with music, a data set of it, an untrained model and its evaluation."""
    program = Program(tmp_path_factory.mktemp("evaluate"))
    for seed in range(60):
        write_midi(duet(seed), program.folder / "midi" / f"{seed}.mid")
    options = "--split 50,25,25 --bars 2 --no-transpositions --no-fill"
    program("data", "build", "midi", "-o", "data", *options.split())
    settings = load_vocabulary(program.folder / "data" / "tokenizer").settings
    untrained(program.folder / "hf", settings)
    (program.folder / "printed.json").write_text(program(*WISH, "-o", "report", "--json").stdout)
    return program


def test_the_report_and_its_pictures_are_there(home: Program) -> None:
    folder = home.folder / "report"
    text = (folder / "report.md").read_text(encoding="utf-8")
    pictures = {path.name for path in folder.glob("*.png")}
    assert {"loss.png", "figures.png", "histograms.png", "scores.png"} <= pictures
    for picture in pictures:
        assert f"]({picture})" in text
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png") == len(pictures)
    assert "{" not in text
    assert not re.search(r"\bnan\b", text)


def test_what_is_printed_is_what_is_written(home: Program) -> None:
    printed = json.loads((home.folder / "printed.json").read_text())
    assert printed == json.loads((home.folder / "report" / "report.json").read_text())


def test_the_same_evaluation_is_not_made_twice(home: Program) -> None:
    before = (home.folder / "report" / "report.md").stat().st_mtime_ns
    done = home(*WISH, "-o", "report")
    assert "nothing to do" in done.stderr
    assert "nats a token" in done.stdout
    assert (home.folder / "report" / "report.md").stat().st_mtime_ns == before


def test_a_model_that_has_learned_nothing_is_found_out(home: Program) -> None:
    report = json.loads((home.folder / "report" / "report.json").read_text())
    size = len(load_vocabulary(home.folder / "hf"))
    for side in report["losses"].values():
        assert side["per_token"]["value"] == pytest.approx(np.log(size), rel=0.05)
        assert side["per_token_masked"]["value"] < side["per_token"]["value"]
        assert side["illegal_mass"]["value"] > 0.3
    assert report["free_samples"]["broken"] == SONGS
    assert report["critic"]["area_under_curve"]["value"] > 0.9
    control = report["critic"]["control_area_under_curve"]
    assert control["value"] < 0.8
    assert report["copying"]["composed"] == {"0": SONGS}


def test_notes_across_barlines_are_counted_where_a_window_follows(home: Program) -> None:
    report = json.loads((home.folder / "report" / "report.json").read_text())
    held = report["held_over_barlines"]
    assert (held["songs"], len(held["by_barline"])) == (SONGS // 4, 3)
    assert held["real"]["value"] == 0  # the music of the data set has none
    text = (home.folder / "report" / "report.md").read_text(encoding="utf-8")
    assert "In 2 songs of two windows" in text


def test_voices_are_compared_with_those_of_held_out_music(home: Program) -> None:
    report = json.loads((home.folder / "report" / "report.json").read_text())
    assert set(report["voices"]) == set(VOICE_FIGURES)
    pairs = report["voices"]["dissonant pairs"]
    assert pairs["held-out"]["low"] < pairs["held-out"]["value"] < pairs["held-out"]["high"]
    assert pairs["composed"]["value"] > 0
    text = (home.folder / "report" / "report.md").read_text(encoding="utf-8")
    assert "| parallel fifths a bar |" in text
    assert "windows that end with their piece" in text
    assert 0 <= report["real_endings_on_the_tonic"]["value"] <= 1
    for side in report["losses"].values():
        assert 0 < side["per_cell_masked"]["value"] < side["per_cell"]["value"]


def test_the_best_songs_are_compared_with_held_out_music(
    home: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    wish = argparse.Namespace(
        model=home.folder / "hf",
        data=home.folder / "data",
        of=5,
        best=3,
        groups=2,
        seed=3,
        whole=False,
    )
    page = import_module("composing").best(wish)
    table = [line.strip("| ").split(" | ") for line in page.splitlines() if line[:1] == "|"]
    assert table[0] == ["all 10", "the best 6", "the first 6", "held-out music"]
    rows = {name: [float(cell.split()[0]) for cell in cells] for name, *cells in table[2:]}
    report = json.loads((home.folder / "report" / "report.json").read_text())
    composed, real = (report["figures"]["notes a bar"][s]["value"] for s in SETS[:0:-1])
    every, _, first, held_out = rows["notes a bar"]
    assert (every, held_out) == pytest.approx((composed, real), abs=1e-3)
    assert every != first
    assert set(VOICE_FIGURES) < set(rows)


def test_other_music_has_no_voices(home: Program) -> None:
    for name, tokenizer in (("data", "tokenizer"), ("hf", ".")):
        folder = home.folder / f"other-{name}"
        shutil.copytree(home.folder / name, folder)
        settings = load_vocabulary(folder / tokenizer).settings
        save_settings(dataclasses.replace(settings, ensemble=("0", "32")), folder / tokenizer)
    wish = ("evaluate", "other-hf", "--data", "other-data", "-n", "10", "-o", "other-report")
    assert "voices: not for this music" in home(*wish).stdout
    report = json.loads((home.folder / "other-report" / "report.json").read_text())
    assert report["voices"] is None
    assert report["losses"]["test"]["per_cell"] is None
    text = (home.folder / "other-report" / "report.md").read_text(encoding="utf-8")
    assert "Not for this music" in text
    assert "a cell" not in text
    assert "Dissonant" not in text


def test_rank_orders_songs_by_the_critic(home: Program) -> None:
    real = home.folder / "midi" / "0.mid"
    wild = home.folder / "wild.mid"
    pitches = np.random.default_rng(0).integers(0, 127, 64).tolist()
    notes = track(0, *((5 * i % 250, 5 * i % 250 + 1, p) for i, p in enumerate(pitches)))
    write_midi(Piece(4, 16, (notes,)), wild)
    other = home.folder / "midi" / "1.mid"
    files = (str(wild), str(real), str(other))
    lines = home("rank", "report/critic.json", *files).stdout.splitlines()
    assert {line.split()[1] for line in lines[:2]} == {str(real), str(other)}
    scores = [float(line.split()[0]) for line in lines[:2]]
    assert scores[0] >= scores[1] > 0.5
    assert f"- {wild}: another kind of music" in lines[2]
    said = home.fails(2, "rank", "report/critic.json", str(wild))
    assert f"knows another kind of music than {wild}" in said


def test_what_cannot_be_evaluated_is_refused_in_one_line(home: Program) -> None:
    said = home.fails(1, "rank", "data/manifest.json", "midi/0.mid")
    assert "is not a critic" in said
    assert "no data set in midi" in home.fails(1, *WISH[:2], "--data", "midi", "-o", "x")
    assert "-n must be 10.." in home.fails(2, *WISH[:4], "-n", "3", "-o", "x")
    shutil.copytree(home.folder / "data", home.folder / "other")
    manifest = home.folder / "other" / "manifest.json"
    manifest.write_text(
        manifest.read_text().replace('"vocabulary_hash": "', '"vocabulary_hash": "0')
    )
    said = home.fails(1, "evaluate", "hf", "--data", "other", "-o", "x")
    assert "another vocabulary than the model's" in said
    assert not (home.folder / "x").exists()
