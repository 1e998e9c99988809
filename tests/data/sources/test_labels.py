"""Labels of pieces: tables, folders, vocabularies, and tables that are wrong."""

import json
from pathlib import Path

import numpy as np
import pytest

from megatron_music.data.build import build
from megatron_music.data.indexed import IndexedReader
from megatron_music.data.report.verify import verify
from megatron_music.data.settings import SPLITS, BuildSettings, choose, like
from megatron_music.data.sources.labels import Labels, folder_labels, label, read_labels
from megatron_music.data.sources.open import folder_source, labelled
from megatron_music.errors import UsageError
from megatron_music.score.midi_writer import write_midi
from megatron_music.tokenizer.vocabulary import load_vocabulary
from tests.data.collection import folder_of_songs, song

NAMES = ("jazz/a.mid", "jazz/b.mid", "folk/c.mid", "d.mid")


def table(folder: Path, text: str) -> Labels:
    path = folder / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return read_labels(path)


def words(labels: Labels, names: tuple[str, ...] = NAMES) -> list[list[str]]:
    found = label([labels], names)
    return [[found.words[place] for place in row] for row in found.of_pieces.tolist()]


def test_rows_name_files_with_or_without_folder_and_suffix_or_whole_folders(tmp_path: Path) -> None:
    labels = table(tmp_path, "file,Composer\njazz/a.mid,Ellington\nb,Monk\nfolk,Anon\n")
    assert words(labels) == [
        ["COMPOSER=ELLINGTON"], ["COMPOSER=MONK"], ["COMPOSER=ANON"], ["COMPOSER=UNKNOWN"],
    ]  # fmt: skip


def test_labels_are_one_word_of_any_alphabet(tmp_path: Path) -> None:
    text = 'file;key;by\na.mid;f# minor;"Bach, J. S."\nb.mid; ;Стравинский\nc.mid;G;\n'
    assert words(table(tmp_path, text))[:3] == [
        ["KEY=F#_MINOR", "BY=BACH_J._S."],
        ["KEY=UNKNOWN", "BY=СТРАВИНСКИЙ"],
        ["KEY=G", "BY=UNKNOWN"],
    ]  # fmt: skip


def test_the_rows_tell_what_separates_the_cells_where_the_header_does_not(tmp_path: Path) -> None:
    found = table(tmp_path, "file;by, or after\na.mid;Bach\nb.mid;Monk\n")
    assert words(found)[:2] == [["BY_OR_AFTER=BACH"], ["BY_OR_AFTER=MONK"]]


def test_folders_label_what_is_in_them_below_the_folder_that_all_share() -> None:
    names = ("top/jazz/a.mid", "top/folk/x/b.mid", "top/c.mid")
    assert words(folder_labels(), names) == [["FOLDER=JAZZ"], ["FOLDER=FOLK"], ["FOLDER=UNKNOWN"]]


def test_rows_name_tunes_files_of_tunes_and_the_closest_counts(tmp_path: Path) -> None:
    names = ("x/t1.abc#1", "x/t1.abc#4", "x/t1.abc#5", "y/C#2.mid", "y/d.mid")
    labels = table(tmp_path, "file,by\nt1,A\nt1.abc#4,B\nx/t1#5,C\nC,D\nC#2,E\n")
    assert [word for [word] in words(labels, names)] == [
        "BY=A", "BY=B", "BY=C", "BY=E", "BY=UNKNOWN",
    ]  # fmt: skip


def test_what_a_table_lacks_or_names_in_vain_is_counted(tmp_path: Path) -> None:
    labels = table(tmp_path, "file,by\na.mid,X\na.mid,X\ngone.mid,Y\n")
    found = label([labels, folder_labels()], NAMES)
    assert found.words[:2] == ("BY=UNKNOWN", "BY=X")
    assert found.record(np.array([True] * 4)) == {
        "without": 3, "loose": 1, "absent": 1, "first_absent": "gone.mid", "new": (),
    }  # fmt: skip
    left_out = found.record(np.array([True, False, True, False]))
    assert (left_out["without"], left_out["loose"]) == (1, 0)


def test_pieces_in_no_folder_have_no_labels_of_folders() -> None:
    with pytest.raises(UsageError, match="none of the 2 pieces is in a folder"):
        label([folder_labels()], ("a.mid", "b.mid"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("file\na.mid\n", "one column"),
        ("jazz/a.mid,Ellington\nb.mid,Monk\n", "first line names the columns"),
        ("file,by,BY\na.mid,X,Y\n", "two columns"),
        ("file,,by\na.mid,X,Y\n", "without a name"),
        ("file,inst\na.mid,X\n", "INST names tokens"),
        ("file,by\na.mid,X\na.mid,Y\n", "line 3: 'a.mid' has other labels on line 2"),
        ("file,by\na.mid,X,Y\n", "3 cells under 2 columns; .* a comma"),
        ("file;by\na.mid;X;Y\n", "3 cells under 2 columns; .* a semicolon"),
        ("file,by\na.mid;X\nb.mid;Y\n", "a semicolon between the cells"),
        ("file,by\nnone.mid,X\n", "names none of the 4 pieces"),
    ],
)
def test_a_table_that_is_wrong_is_refused_in_one_line(
    tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(UsageError, match=words) as fault:
        label([table(tmp_path, text)], NAMES)
    assert "\n" not in str(fault.value)


def test_a_table_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*gone\.csv"):
        read_labels(tmp_path / "gone.csv")
    (tmp_path / "latin.csv").write_bytes("file,by\na,Dvoř".encode("iso8859-2"))
    with pytest.raises(UsageError, match="UTF-8"):
        read_labels(tmp_path / "latin.csv")


def test_documents_begin_with_the_labels_of_their_piece(tmp_path: Path) -> None:
    music = folder_of_songs(tmp_path / "midi" / "mine", 10)
    write_midi(song(90), music.parent / "other.mid")
    settings = BuildSettings(fill=True, split=(50, 25, 25))
    source = labelled(
        folder_source(music.parent),
        table(tmp_path, "file,by\nsong-03,Ann\nother,Eve\n"),
        folder_labels("GENRE"),
    )
    manifest = build(source, tmp_path / "set", settings).manifest
    assert manifest["tokenizer"]["attributes"] == [
        "BY=UNKNOWN", "BY=ANN", "BY=EVE", "GENRE=UNKNOWN", "GENRE=MINE",
    ]  # fmt: skip
    vocabulary = load_vocabulary(tmp_path / "set/tokenizer")
    heads = set()
    for split in SPLITS:
        reader = IndexedReader(tmp_path / "set" / split)
        heads |= {tuple(vocabulary.tokens[t] for t in reader[i][:4]) for i in range(len(reader))}
    assert heads == {
        ("PIECE_START", by, genre, "TRACK_START")
        for by, genre in [("BY=UNKNOWN", "GENRE=MINE"), ("BY=ANN", "GENRE=MINE"),
                          ("BY=EVE", "GENRE=UNKNOWN")]
    }  # fmt: skip
    verify(tmp_path / "set")
    lines = (tmp_path / "set/files.jsonl").read_text(encoding="utf-8").splitlines()
    tokens = sum(json.loads(line)["tokens"] for line in lines)
    assert tokens == sum(side["tokens"] for side in manifest["splits"].values())


def test_other_labels_make_another_data_set(tmp_path: Path) -> None:
    source = folder_source(folder_of_songs(tmp_path / "midi", 4))
    everything = BuildSettings(split=(1, 0, 0))
    build(labelled(source, table(tmp_path, "f,by\nsong-00,A\n")), tmp_path / "set", everything)
    again = labelled(source, table(tmp_path, "f,by\nsong-00,A\n"))
    assert build(again, tmp_path / "set", everything).up_to_date
    with pytest.raises(UsageError, match="another"):
        build(labelled(source, table(tmp_path, "f,by\nsong-00,B\n")), tmp_path / "set", everything)


def test_music_like_labelled_music_has_its_labels_and_no_others(tmp_path: Path) -> None:
    source = folder_source(folder_of_songs(tmp_path / "midi", 4))
    everything = BuildSettings(split=(1, 0, 0))
    build(labelled(source, table(tmp_path, "f,by\nsong-00,A\n")), tmp_path / "set", everything)
    alike = choose(everything, like(tmp_path / "set", {}))
    other = labelled(source, table(tmp_path, "f,by,era\nsong-01,A,X\nsong-02,Z,X\n"))
    manifest = build(other, tmp_path / "other", alike).manifest
    assert manifest["vocabulary_hash"] == load_vocabulary(tmp_path / "set/tokenizer").hash
    assert manifest["labels"]["new"] == ["BY=Z", "ERA"]
    reader = IndexedReader(tmp_path / "other" / "train")
    vocabulary = load_vocabulary(tmp_path / "set/tokenizer")
    heads = {vocabulary.tokens[reader[i][1]] for i in range(len(reader))}
    assert heads == {"BY=UNKNOWN", "BY=A"}


def test_a_column_of_titles_is_refused() -> None:
    rows = {f"{number}.mid": (f"T{number}",) for number in range(5000)}
    with pytest.raises(UsageError, match="TITLE; up to"):
        label([Labels(("TITLE",), rows)], list(rows))
