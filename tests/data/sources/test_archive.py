"""An archive is the folder that it was made of; what is wrong with it costs a line or a member."""

import gzip
import io
import json
import os
import stat
import struct
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megatron_music.data import build as build_module
from megatron_music.data.build import build
from megatron_music.data.records import Refusal
from megatron_music.data.settings import BuildSettings
from megatron_music.data.sources import archive as archive_module
from megatron_music.data.sources.archive import list_archive
from megatron_music.data.sources.item import LARGEST_FILE_BYTES, Item, is_file
from megatron_music.data.sources.open import open_source
from megatron_music.errors import DataError, MidiError, UsageError
from megatron_music.progress import silent
from tests.data.collection import files_of, folder_of_songs

HALVES = BuildSettings(split=(50, 25, 25))
MIDI = b"MThd\0\0\0\6\0\0\0\1\0\x60MTrk\0\0\0\4\0\xff\x2f\0"
TARS = {".tar": "w:", ".tar.gz": "w:gz", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz"}
KINDS = [*TARS, ".zip"]


def music(folder: Path, songs: int = 6) -> Path:
    """Make a folder with music on two levels, and what is not music."""
    folder_of_songs(folder, songs)
    (folder / "b" / "deep").mkdir(parents=True)
    for song in ("song-01.mid", "song-03.mid"):
        (folder / song).rename(folder / "b" / "deep" / song)
    (folder / "b" / "bad.MID").write_bytes(b"<html>")
    (folder / "readme.txt").write_text("no music")
    (folder / "more.zip").write_bytes(b"PK\3\4")
    return folder


def pack(folder: Path, path: Path) -> Path:
    """Pack a folder, in another order than that of its names."""
    names = sorted((p.relative_to(folder) for p in folder.rglob("*")), key=lambda p: p.name[::-1])
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
            for name in names:
                zipped.write(folder / name, str(name).encode(errors="replace").decode())
    else:
        with tarfile.open(path, TARS["".join(path.suffixes)]) as tar:  # type: ignore[call-overload]
            for name in names:
                tar.add(folder / name, f"./{name}", recursive=False)
    return path


def tar_of(path: Path, rows: Iterable[tuple[str, bytes]], **options: Any) -> Path:
    """Write a tar of names and bytes."""
    mode = TARS["".join(path.suffixes[-2:])]
    with tarfile.open(path, mode, **options) as tar:  # type: ignore[call-overload]
        for name, raw in rows:
            header = tarfile.TarInfo(name)
            header.size = len(raw)
            tar.addfile(header, io.BytesIO(raw))
    return path


def zip_of(path: Path, rows: Iterable[tuple[str, bytes]]) -> Path:
    """Write a zip of names and bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, raw in rows:
            zipped.writestr(name, raw)
    return path


def listed(path: Path) -> list[Item]:
    """Return the members of an archive, opened beside it."""
    work = path.with_name(f"{path.name}-work")
    work.mkdir(exist_ok=True)
    return list(list_archive(path, work, silent))


def became(items: Iterable[Item]) -> list[tuple[str, str]]:
    """Say for each item whether its bytes can be had, or the reason why not."""

    def one(item: Any) -> str:
        try:
            return "" if item.raw() else "empty"
        except Refusal as refusal:
            return refusal.reason

    return [(item.name, one(item)) for item in items]


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_gives_the_bytes_of_its_folder(tmp_path: Path, kind: str) -> None:
    folder = music(tmp_path / "music")
    archive = pack(folder, tmp_path / f"music{kind}")
    build(open_source(str(folder)), tmp_path / "of-folder", HALVES)
    build(open_source(str(archive)), tmp_path / "of-archive", HALVES)
    expected, got = files_of(tmp_path / "of-folder"), files_of(tmp_path / "of-archive")
    assert {name for name in expected if expected[name] != got[name]} <= {
        "manifest.json",
        "README.md",
    }
    sources = [json.loads(files["manifest.json"])["source"] for files in (expected, got)]
    assert sources[0]["contents"] == sources[1]["contents"]
    assert not (tmp_path / "of-archive" / ".build").exists()


def test_progress_goes_up_and_ends_once(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = tar_of(tmp_path / "a.tar.gz", [(f"{i}.mid", os.urandom(400_000)) for i in range(9)])
    list_archive(path, tmp_path, lambda done, total, note="": seen.append((done, total)))  # noqa: ARG005
    assert seen == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_killed_build_does_not_decompress_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, made = pack(music(tmp_path / "music"), tmp_path / "music.tar.gz"), tmp_path / "set"
    with monkeypatch.context() as patched:
        patched.setattr(build_module, "encode_shards", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            build(open_source(str(archive)), made, HALVES)
    monkeypatch.setattr(archive_module, "unpack", lambda *_: 1 / 0)
    build(open_source(str(archive)), made, HALVES)
    assert json.loads((made / "manifest.json").read_text())["inputs"]["kept"] == 6


def test_an_archive_that_was_only_touched_is_up_to_date(tmp_path: Path) -> None:
    archive, made = pack(music(tmp_path / "music"), tmp_path / "music.tar.gz"), tmp_path / "set"
    build(open_source(str(archive)), made, HALVES)
    os.utime(archive)
    assert build(open_source(str(archive)), made, HALVES).up_to_date
    assert not (made / ".build").exists()


def test_members_of_a_tar_that_are_not_read_say_why(tmp_path: Path) -> None:
    path = tmp_path / "odd.tar"
    with tarfile.open(path, "w", encoding="utf-8", errors="surrogateescape") as tar:

        def add(name: str, raw: bytes = MIDI, **facts: Any) -> None:
            header = tarfile.TarInfo(name)
            header.size = len(raw)
            for fact, value in facts.items():
                setattr(header, fact, value)
            tar.addfile(header, io.BytesIO(raw))

        add("/etc/abs.mid")
        add("a/../../up.mid")
        add(os.fsdecode(b"caf\xe9.mid"))
        add("twice.mid", b"first")
        add("./twice.mid", b"last")
        add("soft.mid", b"", type=tarfile.SYMTYPE, linkname="twice.mid")
        add("hard.mid", b"", type=tarfile.LNKTYPE, linkname="twice.mid")
        add("pipe.mid", b"", type=tarfile.FIFOTYPE)
        add("large.mid", bytes(LARGEST_FILE_BYTES + 1))
        add("folder.mid", b"", type=tarfile.DIRTYPE)
        add("empty.mid", b"")
        add("within.tar", b"music.mid")
        add(f"{'long/' * 60}name.mid")
    items = listed(path)
    assert became(items) == [
        ("/etc/abs.mid", "outside"),
        ("a/../../up.mid", "outside"),
        (os.fsdecode(b"caf\xe9.mid"), ""),
        ("empty.mid", "empty"),
        ("hard.mid", "link"),
        ("large.mid", "large"),
        (f"{'long/' * 60}name.mid", ""),
        ("pipe.mid", "unreadable"),
        ("soft.mid", "link"),
        ("twice.mid", "replaced"),
        ("twice.mid", ""),
    ]
    assert items[-1].raw() == b"last"  # type: ignore[attr-defined]
    compressed = path.with_suffix(".tar.gz")
    compressed.write_bytes(gzip.compress(path.read_bytes()))
    assert became(items) == became(listed(compressed))


def test_members_of_a_zip_that_are_not_read_say_why(tmp_path: Path) -> None:
    path = tmp_path / "odd.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name in ("/abs.mid", "a/../up.mid", "C:\\win.mid", "caf\xe9.mid", "empty.mid"):
            zipped.writestr(name, MIDI if name != "empty.mid" else b"")
        zipped.writestr("twice.mid", b"first")
        with pytest.warns(UserWarning, match="Duplicate name"):
            zipped.writestr("twice.mid", b"last")
        zipped.writestr("large.mid", bytes(LARGEST_FILE_BYTES + 1))
        link = zipfile.ZipInfo("link.mid")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        zipped.writestr(link, "twice.mid")
        zipped.writestr("stored.mid", MIDI, zipfile.ZIP_STORED)
        zipped.writestr("bzip2.mid", MIDI, zipfile.ZIP_BZIP2)
        zipped.writestr("lzma.mid", MIDI, zipfile.ZIP_LZMA)
        zipped.mkdir("folder.mid")
        zipped.writestr("within.zip", b"PK")
    items = listed(path)
    assert dict(became(items)) == {
        "/abs.mid": "outside",
        "C:\\win.mid": "outside",
        "a/../up.mid": "outside",
        "bzip2.mid": "",
        "caf\xe9.mid": "",
        "empty.mid": "empty",
        "large.mid": "large",
        "link.mid": "link",
        "lzma.mid": "unreadable",
        "stored.mid": "",
        "twice.mid": "",
    }
    assert Counter(reason for _, reason in became(items))["replaced"] == 1
    assert items[-1].raw() == b"last"  # type: ignore[attr-defined]


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "secret.zip", [("song.mid", MIDI)])
    raw = bytearray(path.read_bytes())
    raw[6] |= 1  # the flag of encryption, in both headers
    raw[raw.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(raw)
    assert became(listed(path)) == [("song.mid", "encrypted")]


def test_a_member_with_a_wrong_size_is_stopped(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "bomb.zip", [("bomb.mid", bytes(100_000_000))])
    raw = bytearray(path.read_bytes())
    struct.pack_into("<I", raw, raw.index(b"PK\1\2") + 24, 1000)
    path.write_bytes(raw)
    [item] = listed(path)
    with pytest.raises(Refusal, match="damaged within the archive") as refusal:
        item.read()
    assert refusal.value.reason == "unreadable"


def test_a_damaged_member_costs_itself_alone(tmp_path: Path) -> None:
    rows = [(f"{i}.mid", os.urandom(500)) for i in range(3)]
    path = zip_of(tmp_path / "music.zip", rows)
    raw = bytearray(path.read_bytes())
    raw[raw.index(rows[1][1][:50]) + 60] ^= 1
    path.write_bytes(raw)
    assert [reason for _, reason in became(listed(path))] == ["", "unreadable", ""]


@pytest.mark.parametrize("program", [b"MZ\x90\0 unpacks itself", b"#!/bin/sh\nunzip $0\n"])
def test_a_zip_that_unpacks_itself_is_a_zip(tmp_path: Path, program: bytes) -> None:
    plain = pack(music(tmp_path / "music"), tmp_path / "music.zip")
    (tmp_path / "music.exe").write_bytes(program + plain.read_bytes())
    read, expected = listed(tmp_path / "music.exe"), listed(plain)
    assert [item.name for item in read] == [item.name for item in expected]
    assert [item.raw() for item in filter(is_file, read)] == [
        item.raw() for item in filter(is_file, expected)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_that_is_cut_short_is_one_error(tmp_path: Path, kind: str) -> None:
    whole = pack(music(tmp_path / "music"), tmp_path / f"music{kind}").read_bytes()
    last = len(whole.rstrip(b"\0")) // 512 * 512 if kind == ".tar" else len(whole) - 1
    for size in (last, *range(last - 512, 512, -max(512, last // 9 // 512 * 512))):
        cut = tmp_path / f"cut-{size}{kind}"
        cut.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"not a (tar|zip) archive \(.+\); fetch it again"):
            listed(cut)


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_archive_never_ends_the_program(tmp_path: Path, kind: str) -> None:
    whole = pack(music(tmp_path / "music", 4), tmp_path / f"music{kind}").read_bytes()
    random = np.random.default_rng(5)
    path = tmp_path / f"damaged{kind}"
    ended = Counter[str]()
    for _ in range(60):
        raw = bytearray(whole)
        places = random.integers(0, len(raw), 4).tolist() if kind != ".zip" else []
        places += random.integers(max(0, len(raw) - 900), len(raw), 4).tolist()
        for place in places[: random.integers(1, 9)]:
            raw[place] ^= int(random.integers(1, 256))
        path.write_bytes(raw)
        for left in (tmp_path / f"damaged{kind}-work").glob("*"):
            left.unlink()
        try:
            read = listed(path)
        except (DataError, UsageError):
            ended["archive"] += 1
            continue
        for item in read:
            try:
                item.read()
                ended["read"] += 1
            except (Refusal, MidiError):
                ended["refused"] += 1
    assert ended["archive"]


def test_an_archive_that_grows_without_measure_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_module, "FREE_BYTES", 5_000_000)
    zeros = bytes(50_000_000)
    for name in ("zeros.bin", "zeros.mid"):
        bomb = tar_of(tmp_path / "bomb.tar.gz", [(name, zeros), ("a.mid", MIDI)])
        with pytest.raises(DataError, match=r"grows from .* made to fill disks"):
            listed(bomb)
    many = [(f"{i}.mid", zeros[:7_900_000]) for i in range(4)]
    with pytest.raises(DataError, match=r"grows from .* made to fill disks"):
        listed(zip_of(tmp_path / "bomb.zip", many))


def test_a_header_of_absurd_size_is_not_read(tmp_path: Path) -> None:
    # A name of 60 MB, as the extension for long names allows.
    long = tarfile.TarInfo("././@LongLink")
    long.type, long.size = tarfile.GNUTYPE_LONGNAME, 60_000_000
    raw = long.tobuf(tarfile.GNU_FORMAT) + b"a" * 60_000_000
    path = tmp_path / "long.tar"
    path.write_bytes(raw + bytes(1024))
    with pytest.raises(DataError, match=r"a header of 60,\d+,\d+ bytes"):
        listed(path)


def test_far_too_many_members_are_not_counted_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_module, "MOST_MEMBERS", 20)
    rows = [(f"{i}.txt", b"") for i in range(30)]
    for path in (tar_of(tmp_path / "a.tar", rows), zip_of(tmp_path / "a.zip", rows)):
        with pytest.raises(DataError, match="has over 20 members"):
            listed(path)


@pytest.mark.parametrize(
    ("name", "raw", "said"),
    [
        ("song.mid", MIDI, "one file of music"),
        ("music.rar", b"Rar!\x1a\7\0", "is a RAR archive"),
        ("music.7z", b"7z\xbc\xaf\x27\x1c", "is a 7-Zip archive"),
        ("README.md", b"# Music", "is neither a folder nor an archive"),
    ],
)
def test_what_cannot_be_read_as_an_archive_says_what_can(
    tmp_path: Path, name: str, raw: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(UsageError, match=f"{said}.*give"):
        open_source(str(tmp_path / name))


@pytest.mark.parametrize("raw", [b"", b"no archive", bytes(4096), b"\x1f\x8b\x08", b"PK\3\4junk"])
def test_a_file_that_is_not_an_archive_is_one_error(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "music.tar").write_bytes(raw)
    with pytest.raises((DataError, UsageError), match=r"not a (tar|zip) archive|no music"):
        listed(tmp_path / "music.tar")
