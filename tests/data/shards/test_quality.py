"""Music that teaches nothing is left out by `quality`, and nearly the same music once more."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from megatron_music.data.build import build
from megatron_music.data.records import Refusal
from megatron_music.data.settings import BuildSettings
from megatron_music.data.shards.quality import RULES, check_quality, sketch
from megatron_music.data.sources.open import open_source
from megatron_music.score.instruments import DRUMS
from megatron_music.score.midi_writer import write_midi
from megatron_music.score.notes import Piece, Score, Track
from tests.data.collection import source_of

TICKS = 480
SIXTEENTH = TICKS // 4
C_MAJOR = np.array([60, 62, 64, 65, 67, 69, 71, 72])


def score(onset: np.ndarray, pitch: np.ndarray, instrument: int = 0) -> Score:
    onset = onset.astype(np.int64)
    return Score(TICKS, (Track(instrument, onset, onset + 60, pitch.astype(np.int64)),))


def tune(seed: int = 0, notes: int = 128) -> Score:
    """Return a tune in C major: two bars of rhythm, over and over."""
    random = np.random.default_rng(seed)
    rhythm = np.sort(random.choice(32, 12, replace=False))
    onset = np.concatenate([rhythm + 32 * bars for bars in range(-(-notes // 12))])[:notes]
    steps = np.cumsum(random.integers(-2, 3, notes)) % len(C_MAJOR)
    return score(onset * SIXTEENTH, C_MAJOR[steps])


def changed(music: Score, **columns: np.ndarray) -> Score:
    return replace(music, tracks=(replace(music.tracks[0], **columns),))


def reason_of(music: Score, steps_per_quarter: int = 4) -> str:
    try:
        check_quality(music, steps_per_quarter)
    except Refusal as refusal:
        return refusal.reason
    return ""


RANDOM = np.random.default_rng(0)
LONG = tune(notes=384)
ONSETS = tune(notes=256).tracks[0].onset
PITCHES = RANDOM.integers(36, 84, 256)
ANY_TIME = np.sort(RANDOM.integers(0, 1000, 300)) * SIXTEENTH
IN_C = C_MAJOR[RANDOM.integers(0, 8, 300)]
TRIPLETS = changed(tune(), onset=np.arange(128) * TICKS // 3)


@pytest.mark.parametrize(
    ("music", "steps_per_quarter", "reason"),
    [
        *((tune(seed), 4, "") for seed in range(3)),
        (tune(notes=11), 4, "sparse"),
        (tune(notes=12), 4, ""),
        (changed(tune(), pitch=np.full(128, 60)), 4, "sparse"),  # of one pitch
        (score(ONSETS, PITCHES), 4, "atonal"),
        (score(ONSETS, PITCHES, DRUMS), 4, ""),
        (changed(LONG, pitch=LONG.tracks[0].pitch + np.repeat([0, 1, 6], 128)), 4, ""),  # modulates
        (score(ANY_TIME, IN_C), 4, "arrhythmic"),
        (score(np.arange(300) * SIXTEENTH, IN_C), 4, ""),  # a steady beat
        (TRIPLETS, 4, "off-grid"),
        (TRIPLETS, 12, ""),
    ],
)
def test_music_is_kept_or_left_out_for_a_reason(
    music: Score, steps_per_quarter: int, reason: str
) -> None:
    assert reason_of(music, steps_per_quarter) == reason


def test_a_sketch_is_that_of_any_key_and_hardly_that_of_another_tune() -> None:
    music = tune(notes=200)
    assert (sketch(changed(music, pitch=music.tracks[0].pitch + 5)) == sketch(music)).all()
    assert (sketch(tune(1, notes=200)) == sketch(music)).mean() < 0.5


@dataclass(frozen=True)
class Made:
    """A piece of a source."""

    name: str
    score: Score
    seed: int = 0

    def read(self) -> Score:
        return self.score


def test_a_build_counts_each_rule_and_names_the_first_of_near_duplicates(tmp_path: Path) -> None:
    original = tune(3, notes=600)
    edited = original.tracks[0].pitch.copy()
    edited[100:104] += 1
    random = np.random.default_rng(0)
    pieces = [
        *(Made(f"tune-{seed}", tune(seed)) for seed in range(20, 26)),
        Made("original", original),
        Made("dot", tune(notes=1)),
        Made("noise", score(np.arange(256) * SIXTEENTH, random.integers(36, 84, 256))),
        Made("moved", changed(original, pitch=original.tracks[0].pitch + 3)),
        Made("edited", changed(original, pitch=edited)),
    ]
    settings = BuildSettings(quality=True, split=(50, 25, 25))
    manifest = build(source_of(pieces), tmp_path / "clean", settings).manifest
    assert manifest["inputs"] == {
        "total": 11,
        "kept": 7,
        "refused": {"atonal": 1, "duplicate": 1, "near-duplicate": 1, "sparse": 1},
    }
    lines = {row["name"]: row for row in map(json.loads, (tmp_path / "clean/files.jsonl").open())}
    assert lines["edited"]["detail"] == "the music of original, nearly"
    assert lines["moved"]["reason"] == "duplicate"
    assert "atonal" in (tmp_path / "clean/README.md").read_text()
    kept = build(source_of(pieces), tmp_path / "all", replace(settings, quality=False)).manifest
    assert kept["inputs"]["refused"] == {"duplicate": 1}
    assert "quality" not in kept["settings"]


def test_midi_files_are_judged_as_any_source(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    (tmp_path / "midi").mkdir()
    onset = np.arange(256)
    for name, pitch in {
        "steps": C_MAJOR[np.cumsum(random.integers(-2, 3, 256)) % 8],
        "noise": random.integers(36, 84, 256),
    }.items():
        track = Track(0, onset, onset + 1, pitch)
        write_midi(Piece(4, 16, (track,)), tmp_path / "midi" / f"{name}.mid")
    source = open_source(str(tmp_path / "midi"))
    settings = BuildSettings(quality=True)
    manifest = build(source, tmp_path / "set", settings).manifest
    assert manifest["inputs"]["refused"] == {"atonal": 1}
    assert set(manifest["inputs"]["refused"]) <= set(RULES)
