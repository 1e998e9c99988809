"""What lies about in collections: each is counted by its reason, and costs itself alone."""

import json
import os
import resource
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from megatron_music.data.build import build
from megatron_music.data.settings import BuildSettings
from megatron_music.data.shards.encode_piece import encode_item
from megatron_music.data.sources.folder import MidiFile
from megatron_music.data.sources.item import LARGEST_FILE_BYTES
from megatron_music.data.sources.open import folder_source
from megatron_music.tokenizer.vocabulary import Vocabulary
from tests.data.collection import folder_of_songs, waltz
from tests.midi_bytes import ONE_NOTE, chunk, midi_bytes

ALL = BuildSettings(split=(100, 0, 0))
END = b"\x00\xff\x2f\x00"
FAR = b"\xff\xff\xff\x7f"
"""The longest time between two events: 268,435,455 ticks."""


ON, OFF = b"\x00\x90\x3c\x40", b"\x80\x3c\x40"


def note(pitch: int) -> bytes:
    return bytes([0, 0x90, pitch, 64, 96, 0x80, pitch, 64])


def signature(numerator: int, power: int) -> bytes:
    return b"\x00\xff\x58\x04" + bytes([numerator, power, 24, 8]) + ONE_NOTE


def smf(division: bytes, format_: int = 1, chunks: int = 1) -> bytes:
    header = chunk(b"MThd", bytes([0, format_, 0, chunks]) + division)
    return header + chunk(b"MTrk", ONE_NOTE + END) * chunks


def crowd(notes: int) -> bytes:
    """Make a file with so many notes within one bar, on all channels and pitches."""
    ons = b"".join(
        b"\x00" + bytes([0x90 | i % 16, i // 16 % 128, 64]) if i % 300 else b"\x01\x90\x3c\x40"
        for i in range(notes)
    )
    offs = b"".join(
        (b"\x30" if not i else b"\x00") + bytes([0x80 | i % 16, i // 16 % 128, 64])
        for i in range(notes)
    )
    return midi_bytes(ons + offs, division=480)


RIFF = b"RIFF\x40\0\0\0RMIDdata\x20\0\0\0"
DIRT = {
    # reason: name and bytes of files that are counted by it; "" for those that are kept
    "": {
        "rmid.mid": RIFF + midi_bytes(note(60) + note(61)),
        "wrapped.rmi": RIFF + midi_bytes(note(62) + note(72)),
        "karaoke.kar": midi_bytes(b"\x00\xff\x05\x02la" + note(59) + note(71)),
        "infinite-tempo.mid": midi_bytes(b"\x00\xff\x51\x03\x00\x00\x00" + note(64) + note(70)),
        "some-never-end.mid": midi_bytes(b"\x00\x90\x30\x40" + note(65) * 3),
    },
    "empty": {"empty.mid": b""},
    "foreign": {
        "page.mid": b"<!DOCTYPE html>\n<html><body>404 Not Found</body></html>",
        "page-2.mid": b"\r\n  <HTML>",
        "archive.mid": b"Rar!\x1a\x07\x00" + bytes(100),
        "zip.mid": b"PK\x03\x04" + bytes(100),
        "gzip.mid": b"\x1f\x8b\x08" + bytes(100),
        "wave.mid": b"RIFF\x40\0\0\0WAVEfmt " + bytes(100),
        "riff-alone.mid": b"RIFF",
        "apple-double.mid": b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X" + bytes(100),
        "zeros.mid": bytes(5000),
    },
    "damaged": {
        "cut.mid": midi_bytes(ONE_NOTE * 50)[:-100],
        "half-a-header.mid": b"MThd\0\0",
        "unknown-status.mid": midi_bytes(b"\x00\xf4" + ONE_NOTE),
    },
    "timing": {
        "no-ticks.mid": smf(b"\x00\x00"),
        "smpte-25.mid": smf(b"\xe7\x28"),
        "smpte-30.mid": smf(b"\xe2\x50"),
    },
    "format": {"format-2.mid": smf(b"\x00\x60", format_=2, chunks=3)},
    "silent": {
        "no-notes.mid": midi_bytes(b""),
        "no-tracks.mid": midi_bytes(b"")[:14],
        "never-end.mid": midi_bytes(b"\x00\x90\x3c\x40\x00\x90\x40\x40"),
    },
    "large": {
        "ticks-8e8.mid": midi_bytes(ON + (FAR + b"\xb0\x07\x40") * 3 + b"\x00" + OFF),
        "far-end.mid": midi_bytes(ON + FAR + OFF, division=1),
        "notes.mid": crowd(220_000),
        "bytes.mid": midi_bytes(ONE_NOTE) + bytes(LARGEST_FILE_BYTES),
    },
    "metre": {
        "metre-0-4.mid": midi_bytes(signature(0, 2)),
        "metre-0-1.mid": midi_bytes(signature(0, 0)),
        "metre-5-8.mid": midi_bytes(signature(5, 3)),
    },
}  # fmt: skip
"""Besides these: files that are no files, names that are no text, links that loop."""


@pytest.fixture(scope="module")
def dirt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with some music and all of the dirt."""
    folder = folder_of_songs(tmp_path_factory.mktemp("dirt") / "music", 3)
    for files in DIRT.values():
        for name, raw in files.items():
            (folder / name).write_bytes(raw)
    waltz(folder / "waltz.mid")
    (folder / "song-00.mid").rename(folder / os.fsdecode(b"caf\xe9 \xff.mid"))
    return folder


def test_dirt_is_counted_by_its_reason(dirt: Path, tmp_path: Path) -> None:
    build(folder_source(dirt), tmp_path / "set", ALL)
    texts = (tmp_path / "set/files.jsonl").read_text(encoding="utf-8").splitlines()
    lines = {(line := json.loads(text))["name"]: line for text in texts}
    became = {name: line["reason"] or "" for name, line in lines.items()}
    expected = {name: reason for reason, files in DIRT.items() for name in files}
    assert {name: became[name] for name in expected} == expected
    assert became["waltz.mid"] == "metre"
    assert [became[name] for name in ("song-01.mid", "song-02.mid")] == ["", ""]
    assert became[os.fsdecode(b"caf\xe9 \xff.mid")] == ""
    for line in (lines[name] for name, reason in became.items() if reason):
        assert "\n" not in line["detail"]
        assert str(dirt) not in line["detail"], "a data set does not know where its source was"
    counted = json.loads((tmp_path / "set/manifest.json").read_text())["inputs"]["refused"]
    assert counted == dict(sorted(Counter(r for r in became.values() if r).items()))


def test_a_bar_of_a_hundred_thousand_notes_does_not_bloat(tmp_path: Path) -> None:
    folder = folder_of_songs(tmp_path / "music", 2)
    build(folder_source(folder), tmp_path / "warm", ALL)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (folder / "crowd.mid").write_bytes(crowd(100_000))
    build(folder_source(folder), tmp_path / "set", ALL)
    unit = 1 if sys.platform == "darwin" else 1024
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit < 200e6
    [line] = [
        values
        for text in (tmp_path / "set/files.jsonl").read_text().splitlines()
        if (values := json.loads(text))["name"] == "crowd.mid"
    ]
    # One note a pitch and step is what a grid can hold: 128 pitches, 16 steps.
    assert line["outcome"] == "kept"
    assert line["tokens"] < 10_000


def test_a_signature_years_after_the_music_costs_no_time(tmp_path: Path) -> None:
    years = (FAR + b"\xb0\x07\x40") * 7
    changes = b"\x00\xff\x58\x04\x03\x02\x18\x08" + b"\x00\xff\x58\x04\x04\x02\x18\x08"
    (tmp_path / "a.mid").write_bytes(midi_bytes(note(60) + years + changes, division=1))
    start = time.process_time()
    item = MidiFile(str(tmp_path / "a.mid"), "a.mid")
    record = encode_item(item, ALL, Vocabulary(ALL.tokenizer())).record
    assert time.process_time() - start < 5
    assert (record.outcome, record.windows) == ("kept", 1)
