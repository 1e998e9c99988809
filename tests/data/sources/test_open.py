"""A source is an ordered list of pieces, however its folder looks."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from megatron_music.data.build import build
from megatron_music.data.records import Refusal
from megatron_music.data.settings import BuildSettings, for_own_music
from megatron_music.data.sources.catalog import COLLECTIONS
from megatron_music.data.sources.item import LARGEST_FILE_BYTES
from megatron_music.data.sources.open import folder_source, open_source
from megatron_music.errors import UsageError
from megatron_music.score.midi_writer import write_midi
from tests.data.collection import folder_of_songs, song


def names(folder: Path) -> list[str]:
    return [item.name for item in folder_source(folder).items]


def test_a_folder_is_read_to_the_bottom_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b.mid", "a/z.MID", "a/b/c.Midi", "c.KAR", "d.rmi", "notes.txt", "a.mid.gz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert names(tmp_path) == ["a/b/c.Midi", "a/z.MID", "b.mid", "c.KAR", "d.rmi"]


def test_links_that_loop_end(tmp_path: Path) -> None:
    folder = folder_of_songs(tmp_path / "music", 2)
    (folder / "again").symlink_to(folder)
    (folder / "up").symlink_to(tmp_path)
    (folder / "itself").symlink_to("itself")
    assert sorted({Path(name).name for name in names(tmp_path)}) == ["song-00.mid", "song-01.mid"]
    assert len(names(folder)) == 2


@pytest.mark.parametrize(
    ("make", "told", "reason"),
    [
        (os.mkfifo, "not a regular file", "unreadable"),  # and it is not waited for
        (lambda path: path.symlink_to("nowhere"), "No such file", "unreadable"),
        (lambda path: path.write_bytes(bytes(LARGEST_FILE_BYTES + 1)), "the limit is", "large"),
    ],
)
def test_what_is_no_file_of_music_is_refused(
    tmp_path: Path, make: Callable[[Path], object], told: str, reason: str
) -> None:
    make(tmp_path / "a.mid")
    [item] = folder_source(tmp_path).items
    with pytest.raises(Refusal, match=told) as refusal:
        item.read()
    assert refusal.value.reason == reason


def facts(folder: Path) -> tuple[str, str]:
    source = folder_source(folder)
    return source.fingerprint, source.stamp


def test_a_changed_added_or_renamed_file_is_noticed_without_being_read(tmp_path: Path) -> None:
    folder_of_songs(tmp_path, 2)
    seen = {facts(tmp_path)}
    assert facts(tmp_path) in seen
    time.sleep(0.02)  # the kernel's clock ticks every few milliseconds
    raw = bytearray((tmp_path / "song-00.mid").read_bytes())
    raw[-6] ^= 1
    (tmp_path / "song-00.mid").write_bytes(raw)
    seen.add(facts(tmp_path))
    (tmp_path / "song-01.mid").rename(tmp_path / "song-02.mid")
    seen.add(facts(tmp_path))
    write_midi(song(9), tmp_path / "song-09.mid")
    seen.add(facts(tmp_path))
    assert len(seen) == 4


def test_bach_comes_with_its_own_settings() -> None:
    bach = open_source("bach")
    assert len(bach.items) == 371
    assert bach.preferred.pieces
    assert (bach.preferred.bars, bach.preferred.hop, bach.preferred.transpositions) == (8, 4, 12)


def test_a_folder_is_whole_pieces_for_songs_of_eight_bars_in_all_keys_with_hidden_bars(
    tmp_path: Path,
) -> None:
    made = folder_source(folder_of_songs(tmp_path / "few", 2)).preferred
    assert made.pieces
    assert (made.bars, made.transpositions, made.fill) == (8, 12, True)
    assert for_own_music(100_000).transpositions == 1


def test_songs_and_runs_of_this_program_are_not_listed(tmp_path: Path) -> None:
    folder = folder_of_songs(tmp_path / "midi", 3)
    own = folder / "music"
    folder_of_songs(own, 2)
    for name in ("song-7.mid", "song-7-2.mid", "song-123456789.mid", "prompt.mid"):
        shutil.copy(folder / "song-00.mid", own / name)
    (own / "song-00.mid").rename(own / "mine.mid")
    (own / "song-01.mid").unlink()
    (own / "album.json").write_text("{}")
    folder_of_songs(own / "kept", 1)
    run = folder / "runs" / "mine-tiny"
    folder_of_songs(run / "samples", 2)
    (run / "checkpoints").mkdir()
    for name in ("config.yaml", "environment.json"):
        (run / name).touch()
    listed = folder_source(folder)
    names = [item.name for item in listed.items]
    assert names == ["music/mine.mid", "song-00.mid", "song-01.mid", "song-02.mid"]
    assert listed.own == ("music/", "runs/mine-tiny/")


def test_every_collection_says_what_a_card_needs() -> None:
    assert len({known.name for known in COLLECTIONS}) == len(COLLECTIONS)
    for known in COLLECTIONS:
        assert all((known.title, known.licence, known.citation, known.where, known.access))


def test_a_source_whose_name_is_not_utf8_is_built(tmp_path: Path) -> None:
    folder = folder_of_songs(Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xe9d")), 3)
    made = build(folder_source(folder), tmp_path / "set", BuildSettings(split=(100, 0, 0)))
    assert made.manifest["source"]["name"] == "b\ufffdd"
    with pytest.raises(UsageError, match="cannot be printed; give another folder"):
        build(folder_source(folder), Path(os.fsdecode(os.fsencode(tmp_path) + b"/s\xe9t")))
