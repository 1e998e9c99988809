"""Songs read from CSV, JSON lines and folders, whatever their encoding."""

import json
from pathlib import Path

import pytest

from megatron_music.errors import DataError, UsageError
from megatron_music.text.songs import Columns, Song, clean, open_songs


def read(path: Path, **columns: str) -> list[Song]:
    return list(open_songs(path, Columns(**columns)).read(lambda _: None))


@pytest.mark.parametrize(
    ("text", "columns", "songs"),
    [
        ('Artist,Song_Title,Lyrics\nQUEEN,Why,"Why ""me""\n\nthe end"\n', {},
         [Song("row 1", 'Why "me"\n\nthe end', "Why", "QUEEN")]),
        *((f"title{delimiter}text\nOne{delimiter}la la\n", {}, [Song("row 1", "la la", "One")])
          for delimiter in ",;\t"),
        ("who,what,sung\nA,B,la la\n", {"text": "sung", "title": "what", "artist": "WHO"},
         [Song("row 1", "la la", "B", "A")]),
    ],
)  # fmt: skip
def test_a_csv_is_read_by_the_names_of_its_columns(
    tmp_path: Path, text: str, columns: dict[str, str], songs: list[Song]
) -> None:
    (tmp_path / "a.csv").write_text(text)
    assert read(tmp_path / "a.csv", **columns) == songs


@pytest.mark.parametrize("column", [None, "chorus"])
def test_a_csv_without_the_column_names_those_that_are_there(
    tmp_path: Path, column: str | None
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("who,what\nA,B\n")
    with pytest.raises(DataError, match=r"it has who, what: name one with --text-column"):
        open_songs(path, Columns(text=column))


def test_json_lines_that_are_damaged_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [json.dumps({"text": "la la", "artist": "A"}), "{", "", "[1]"]
    path.write_text("\n".join(rows))
    songs = read(path)
    assert songs[0] == Song("line 1", "la la", "", "A")
    assert [song.reason for song in songs[1:]] == ["damaged", "damaged"]


def test_a_folder_gives_artist_and_title_by_its_names(tmp_path: Path) -> None:
    (tmp_path / "QUEEN").mkdir()
    (tmp_path / "QUEEN" / "Why.txt").write_text("why")
    (tmp_path / "The Owls - Moon.txt").write_text("moon")
    (tmp_path / "noise.txt").write_bytes(bytes(range(256)) * 4)
    assert read(tmp_path) == [
        Song("QUEEN/Why.txt", "why", "Why", "QUEEN"),
        Song("The Owls - Moon.txt", "moon", "Moon", "The Owls"),
        Song("noise.txt", "", reason="not text"),
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_an_encoding_is_detected_from_the_bytes(tmp_path: Path, encoding: str) -> None:
    text = "Über den Flüssen schläft die Nacht, und müde Vögel träumen süß; wo wärst du, wäre ich?"
    path = tmp_path / "a.csv"
    path.write_bytes(f'title,lyrics\nÜber,"{text}"\n'.encode(encoding))
    assert read(path) == [Song("row 1", text, "Über")]


def test_bytes_that_are_not_text_are_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"\x00\x01lyrics\x00" + bytes(range(256)) * 8)
    with pytest.raises(DataError, match="is not text: byte 0 is not UTF-8"):
        open_songs(path, Columns())


def test_songs_without_a_word_are_of_no_use(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('lyrics\n"  \n ..."\nla\n')
    assert [song.reason for song in read(path)] == ["empty", ""]


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.doc").write_text("la")
    with pytest.raises(UsageError, match=r"\.csv"):
        open_songs(tmp_path / "a.doc", Columns())
    with pytest.raises(UsageError, match="no file and no folder"):
        open_songs(tmp_path / "absent.csv", Columns())
    (tmp_path / "empty.csv").touch()
    with pytest.raises(DataError, match="is empty"):
        open_songs(tmp_path / "empty.csv", Columns())


def test_a_text_has_one_form() -> None:
    assert clean("e\u0301 \r\n\r\n\r\n\r\nb\x00\t \n") == "é\n\nb"
