"""Collections come over HTTP: whole, checked, gone on with, and never under a false name."""

import dataclasses
import hashlib
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from megatron_music.cli import data_catalog
from megatron_music.data.sources import catalog
from megatron_music.data.sources import fetch as fetching
from megatron_music.data.sources.catalog import Collection, Download, collection_named
from megatron_music.data.sources.fetch import DOWNLOADS, LICENCE_FILE, fetch, found
from megatron_music.data.sources.open import open_source
from megatron_music.errors import FetchError, MissingError, UsageError, WriteError
from megatron_music.files import file_lock
from tests.data.collection import files_of, folder_of_songs
from tests.data.host import Host, hosting
from tests.data.sources.test_archive import pack, tar_of

ARCHIVE = os.urandom(900_000)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setattr(fetching, "WAITS_S", (0.0, 0.0))
    with hosting(ARCHIVE) as host:
        yield host


def known(host: Host, **facts: Any) -> Collection:
    """Return a collection that the host has."""
    lakh = collection_named("lakh")
    assert lakh is not None
    sha256 = hashlib.sha256(host.raw).hexdigest()
    there = Download(**{"url": host.url, "file": "music.tar.gz", "sha256": sha256, **facts})
    return dataclasses.replace(lakh, download=there)


def test_an_archive_is_fetched_with_its_licence(host: Host, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = fetch(known(host), tmp_path, lambda done, total, note="": seen.append((done, total)))  # noqa: ARG005
    assert path == tmp_path / "music.tar.gz"
    assert path.read_bytes() == ARCHIVE
    licence = (tmp_path / LICENCE_FILE).read_text()
    assert "CC BY 4.0" in licence
    assert "Raffel" in licence
    assert host.url in licence
    assert seen
    assert all(done <= total for done, total in seen)
    assert {item.name for item in tmp_path.iterdir()} == {"music.tar.gz", LICENCE_FILE, ".lock"}


def test_what_is_here_is_checked_and_not_asked_for(host: Host, tmp_path: Path) -> None:
    fetch(known(host), tmp_path)
    fetch(known(host), tmp_path)
    assert len(host.asked) == 1
    (tmp_path / "music.tar.gz").write_bytes(b"damaged")
    assert fetch(known(host), tmp_path).read_bytes() == ARCHIVE
    assert len(host.asked) == 2


@pytest.mark.parametrize(
    ("faults", "ranges", "left", "asked"),
    [
        ([300_000, 429, 300_000], True, b"",
         ["", "bytes=300000-", "bytes=300000-", "bytes=600000-"]),
        ([300_000], False, b"", None),  # a host that knows no ranges starts anew
        ([], True, ARCHIVE, None),  # what was left is complete, or too long
        ([], True, ARCHIVE + b"more", None),
    ],
)  # fmt: skip
def test_what_broke_off_is_fetched_whole(
    host: Host, tmp_path: Path, faults: list[int], ranges: bool, left: bytes, asked: Any
) -> None:
    host.faults, host.ranges = faults, ranges
    host.headers["Content-Encoding"] = "gzip"  # an archive that a host calls so stays as it is
    if left:
        (tmp_path / "music.tar.gz.part").write_bytes(left)
    assert fetch(known(host), tmp_path).read_bytes() == ARCHIVE
    assert asked in (None, host.asked)


def test_another_day_asks_for_the_rest_alone(host: Host, tmp_path: Path) -> None:
    host.faults = [300_000, 0, 0]
    with pytest.raises(FetchError, match=r"broke off after 300,000 bytes .* resumes from what"):
        fetch(known(host), tmp_path)
    assert found(known(host), tmp_path) is None
    host.asked.clear()
    assert fetch(known(host), tmp_path).read_bytes() == ARCHIVE
    assert host.asked == ["bytes=300000-"]


def test_what_a_killed_fetch_leaves_is_tidied_up(host: Host, tmp_path: Path) -> None:
    (tmp_path / "tmpabcd_123").touch()
    (tmp_path / ".unpacking-xyz" / "midi").mkdir(parents=True)
    (tmp_path / "tmp-of-mine").write_text("mine")
    fetch(known(host), tmp_path)
    left = {"music.tar.gz", LICENCE_FILE, ".lock", "tmp-of-mine"}
    assert {item.name for item in tmp_path.iterdir()} == left


def test_what_is_not_the_known_file_is_thrown_away(host: Host, tmp_path: Path) -> None:
    other = known(host, sha256="0" * 64)
    for _ in range(2):
        with pytest.raises(FetchError, match=r"its sha256 is not 0000.*fetch it again"):
            fetch(other, tmp_path)
        assert {item.name for item in tmp_path.iterdir()} == {LICENCE_FILE, ".lock"}
    assert host.asked == ["", ""]  # and nothing false is gone on with


@pytest.mark.parametrize(
    ("faults", "said"),
    [([404], "answers 404 Not Found"), ([503] * 3, "does not begin .*503")],
)
def test_a_host_that_will_not_is_one_error(
    host: Host, tmp_path: Path, faults: list[int], said: str
) -> None:
    host.faults = faults
    with pytest.raises(FetchError, match=said):
        fetch(known(host), tmp_path)
    assert host.faults == []
    nobody = known(host, url="http://127.0.0.1:9/music.tar.gz")
    with pytest.raises(FetchError, match="check the connection") as failure:
        fetch(nobody, tmp_path)
    assert "(Failed to establish a new connection: [Errno 111]" in str(failure.value)


def test_too_little_room_is_reported_before_the_download(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("megatron_music.data.sources.fetch.shutil.disk_usage", lambda _: usage)
    with pytest.raises(WriteError, match=r"needs 900,000 more bytes.* 1,000 free"):
        fetch(known(host), tmp_path)


def test_a_disk_that_fills_keeps_what_has_come(host: Host, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (524_288, hard))
    try:
        with pytest.raises(WriteError, match=r"cannot write .*\.part: .*resumes from what has"):
            fetch(known(host), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert fetch(known(host), tmp_path).read_bytes() == ARCHIVE
    assert host.asked == ["", "bytes=524288-"]


def test_two_do_not_fetch_into_one_folder(host: Host, tmp_path: Path) -> None:
    with (
        file_lock(tmp_path / ".lock", FetchError("taken")),
        pytest.raises(FetchError, match=r"being fetched into .* already"),
    ):
        fetch(known(host), tmp_path)


def checked_by_file(host: Host, tmp_path: Path, spoilt: str = "") -> Collection:
    """Return a collection whose archive is packed anew each time; a file of it may be spoilt."""
    songs = folder_of_songs(tmp_path / "songs", 3)
    raws = {path.name: path.read_bytes() for path in sorted(songs.iterdir())}
    table = tmp_path / "songs.sha256"
    lines = (f"{hashlib.sha256(raw).hexdigest()}  {name}\n" for name, raw in raws.items())
    table.write_text("".join(lines))
    rows = [(f"top-123/midi/{name}", b"?" if name == spoilt else raw) for name, raw in raws.items()]
    more = [("top-123/other/song-00.mid", b"other"), ("top-123/midi/more.mid", b"more")]
    host.raw = tar_of(tmp_path / "packed.tar.gz", [*more, *rows]).read_bytes()
    return known(host, sha256=None, within="midi", hashes=str(table))


def test_files_are_checked_one_by_one_where_archives_are_packed_anew(
    host: Host, tmp_path: Path
) -> None:
    collection = checked_by_file(host, tmp_path)
    place = fetch(collection, tmp_path / "here")
    assert place == tmp_path / "here" / "midi"
    assert files_of(place) == files_of(tmp_path / "songs")
    assert {item.name for item in place.parent.iterdir()} == {"midi", LICENCE_FILE, ".lock"}
    fetch(collection, tmp_path / "here")
    assert len(host.asked) == 1
    (place / "song-01.mid").write_bytes(b"damaged")
    fetch(collection, tmp_path / "here")
    assert files_of(place) == files_of(tmp_path / "songs")


def test_one_file_that_differs_is_named_and_nothing_is_kept(host: Host, tmp_path: Path) -> None:
    collection = checked_by_file(host, tmp_path, spoilt="song-01.mid")
    with pytest.raises(FetchError, match=r"midi/song-01\.mid .* its sha256 differs"):
        fetch(collection, tmp_path / "here")
    assert {item.name for item in (tmp_path / "here").iterdir()} == {LICENCE_FILE, ".lock"}


def test_the_table_of_js_fakes_names_its_500_files() -> None:
    table = Path(catalog.__file__).with_name("js-fakes.sha256").read_text(encoding="ascii")
    rows = [line.split("  ") for line in table.splitlines()]
    assert [name for _, name in rows] == [f"{number}.mid" for number in range(500)]
    assert {len(bytes.fromhex(sha256)) for sha256, _ in rows} == {32}


def test_what_was_fetched_is_a_source_by_its_name(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DOWNLOADS, str(tmp_path / "downloads"))
    host.raw = pack(folder_of_songs(tmp_path / "songs", 2), tmp_path / "a.tar.gz").read_bytes()
    monkeypatch.setattr(catalog, "COLLECTIONS", (known(host),))
    with pytest.raises(MissingError, match="megatron-music data fetch lakh"):
        open_source("lakh")
    fetch(known(host))
    source = open_source("lakh")
    assert (source.name, source.licence) == ("lakh", "CC BY 4.0")
    assert source.index is not None
    assert len(source.index(tmp_path, lambda *_: None)) == 2


def test_the_terms_are_shown_before_the_music_comes(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(catalog, "COLLECTIONS", (known(host),))
    data_catalog.fetch_collection("lakh", tmp_path)
    shown = capsys.readouterr()
    assert shown.out == f"{tmp_path / 'music.tar.gz'}\n"
    assert shown.err.index("Licence: CC BY 4.0") < shown.err.index("fetch lakh: ")
    assert f"data build lakh --source {tmp_path / 'music.tar.gz'} -o" in shown.err


def test_a_collection_elsewhere_keeps_its_name_and_terms(tmp_path: Path) -> None:
    source = open_source("metamidi", folder_of_songs(tmp_path / "got", 2))
    assert source.name == "metamidi"
    assert "neither the files nor their tokens may be passed on" in source.licence
    assert len(source.items) == 2
    with pytest.raises(UsageError, match="leave --source out"):
        open_source("bach", tmp_path)
    with pytest.raises(UsageError, match="is not a collection"):
        open_source(str(tmp_path), tmp_path)
