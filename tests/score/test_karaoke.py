"""Words of MIDI and MusicXML files: read by every convention, and as they were written."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_music.score.instruments import DRUMS
from megatron_music.score.karaoke import Convention, Sung, convention_of, lyric_events
from megatron_music.score.midi_events import LYRIC, NAME, TEXT, Chunk, Event, meta, parse_events
from megatron_music.score.midi_writer import midi_bytes, write_midi
from megatron_music.score.music_file import parse_sung, read_music
from megatron_music.score.musicxml_writer import write_musicxml
from megatron_music.score.notes import Piece, Score, Track
from megatron_music.score.quantize import join, merge, quantize, windows
from megatron_music.score.words import LINE_END, MARKS, VERSE_END, WORD_END, clean_text, split_mark
from tests.music import sung_pieces, track

QUARTER = 480
SUNG = ["Twin", "kle ", "twin", "kle\n", "lit", "tle ", "star\f", "How "]


def melody(count: int = 8) -> Track:
    """Return so many quarter notes, in ticks."""
    return track(0, *[(i * QUARTER, (i + 1) * QUARTER, 60 + i % 5) for i in range(count)])


def song(texts: list[str], kind: int = LYRIC, name: str = "", header: str = "") -> Sung:
    """Return a file of a melody, drums and these words, a quarter note each, as it is read."""
    drums = track(DRUMS, *[(i * QUARTER // 2, i * QUARTER // 2 + 60, 36) for i in range(16)])
    file = parse_events(midi_bytes(Score(QUARTER, (drums, melody(max(8, len(texts)))))))
    words = [Event(i * QUARTER, meta(kind, text.encode())) for i, text in enumerate(texts)]
    heads = [Event(0, meta(NAME, name.encode()))] if name else []
    heads += [Event(0, meta(TEXT, header.encode()))] if header else []
    file.chunks.append(Chunk([*heads, *words]))
    return parse_sung(file.to_bytes(), "song.mid")


def words_of(sung: Sung) -> list[str]:
    """Return the syllables of the track that sings."""
    singing = [one for one in sung.score.tracks if one.syllables is not None]
    assert len(singing) <= 1
    return [text for one in singing for text in one.sung.tolist()]


@pytest.mark.parametrize(
    "texts",
    [
        ["Twin", "kle ", "twin", "kle \r", "lit", "tle ", "star \n", "How "],
        ["\\Twin", "kle ", "twin", "kle", "/lit", "tle ", "star", "\\How "],
        ["Twin", "kle", " twin", "kle\r", " lit", "tle", " star\n", " How "],
        ["Twin-", "kle", "twin-", "kle\r", "lit-", "tle", "star\n", "How"],
        ["Twin-", "kle ", "twin-", "kle \r", "lit-", "tle ", "star \n", "How "],
    ],
)
def test_syllables_are_read_by_each_convention(texts: list[str]) -> None:
    assert words_of(song(texts)) == SUNG


def test_text_events_are_words_in_karaoke_files_alone() -> None:
    texts = ["\\Twin", "kle ", "twin", "kle ", "/lit", "tle ", "star", "\\How "]
    assert words_of(song(texts, TEXT, header="@KMIDI KARAOKE FILE"))[0] == "Twin"
    assert words_of(song(texts, TEXT, name="Words"))[0] == "Twin"
    assert words_of(song(texts, TEXT)) == []


def test_a_syllable_is_that_of_the_nearest_note_within_a_sixteenth() -> None:
    file = parse_events(midi_bytes(Score(QUARTER, (melody(),))))
    places = [5, 475, 960 + 119, 1440 + 240, 1920]
    words = [
        Event(place, meta(LYRIC, text))
        for place, text in zip(places, (b"a ", b"b ", b"c ", b"d ", b"e "), strict=True)
    ]
    file.tracks[1].events = sorted([*words, *file.tracks[1].events], key=lambda one: one.tick)
    sung = parse_sung(file.to_bytes(), "song.mid")
    assert words_of(sung)[:5] == ["a ", "b ", "c ", "", "e "]
    assert sung.left_out["unmatched"] == 1


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        (["1 ", "2 ", "3 ", "44 ", "5 ", "66 "], "numbers"),
        (["visit www.midi.example.com "] * 8, "advert"),
        (["la ", "la "], "few"),
    ],
)
def test_what_is_not_sung_is_counted_by_its_reason(texts: list[str], reason: str) -> None:
    sung = song(texts)
    assert words_of(sung) == []
    assert sung.left_out[reason] == len(texts)


def test_words_before_the_first_note_are_left_out() -> None:
    late = replace(melody(), onset=melody().onset + 1920, end=melody().end + 1920)
    file = parse_events(midi_bytes(Score(QUARTER, (late,))))
    words = [Event(i * QUARTER, meta(LYRIC, b"la ")) for i in range(10)]
    file.chunks.append(Chunk(words))
    sung = parse_sung(file.to_bytes(), "song.mid")
    assert words_of(sung) == ["la "] * 6 + [""] * 2
    assert sung.left_out["unmatched"] == 4


@pytest.mark.parametrize("encoding", ["utf-8", "shift_jis", "cp1252"])
def test_words_of_any_script_and_encoding_are_read(encoding: str) -> None:
    text = (
        "Fröhlich für Mädchen schöne Blüten "
        if encoding == "cp1252"
        else "さいたさいたチューリップの花が"
    )
    syllables = [f"{one} " for one in text.split()] if encoding == "cp1252" else list(text)
    file = parse_events(midi_bytes(Score(QUARTER, (melody(20),))))
    file.chunks.append(
        Chunk(
            [Event(i * QUARTER, meta(LYRIC, s.encode(encoding))) for i, s in enumerate(syllables)]
        )
    )
    read = words_of(parse_sung(file.to_bytes(), "song.mid"))
    assert [split_mark(one)[0] for one in read if one] == [one.strip() for one in syllables]


def test_right_to_left_words_keep_the_order_they_are_sung_in(tmp_path: Path) -> None:
    syllables = np.array(["שָׁ", "לוֹם ", "עֲ", "לֵי", "כֶם ", "", "", ""], np.str_)
    sung = Piece(
        4, 2, (replace(quantize(Score(QUARTER, (melody(),)), 4).tracks[0], syllables=syllables),)
    )
    write_musicxml(sung, tmp_path / "a.musicxml")
    read = quantize(read_music(tmp_path / "a.musicxml"), 4)
    assert read.tracks[0].sung.tolist() == [
        clean_text(split_mark(one)[0]) + split_mark(one)[1] for one in syllables.tolist()
    ]


texts = st.text(st.characters(categories=("L", "N", "P", "S", "Zs", "M")), max_size=12)


def words(piece: Piece) -> list[list[str]]:
    return [one.sung.tolist() for one in piece.tracks]


@settings(max_examples=40)
@given(sung_pieces())
def test_a_written_file_is_read_with_the_same_words(piece: Piece) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "song.mid"
        write_midi(piece, path)
        assert words(quantize(parse_sung(path.read_bytes(), "song.mid").score, 4)) == words(piece)


@pytest.mark.parametrize("kind", [LYRIC, TEXT])
@pytest.mark.parametrize("by_blanks", [True, False])
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_words_are_added_as_a_file_has_its_words(kind: int, by_blanks: bool, encoding: str) -> None:
    sung = ["für", "wahr ", "grü", "ßet ", "süß\n", "und ", "schön ", "Gott "]
    track = replace(melody(), syllables=np.array(sung, np.str_))
    file = parse_events(midi_bytes(Score(QUARTER, (melody(),))))
    words = lyric_events(track, Convention(kind, by_blanks, encoding))
    file.chunks.append(Chunk([Event(0, meta(NAME, b"Words")), *words]))
    found = convention_of(file)
    assert (found.kind, found.by_blanks) == (kind, by_blanks)
    assert lyric_events(track, found) == words
    assert words_of(parse_sung(file.to_bytes(), "song.mid")) == sung


def test_karaoke_files_have_the_words_of_the_track_that_sings_most(tmp_path: Path) -> None:
    tune = quantize(Score(QUARTER, (melody(),)), 4).tracks[0]
    lead = replace(tune, syllables=np.array(SUNG, np.str_))
    choir = replace(tune, instrument=52, pitch=tune.pitch - 12)
    piece = Piece(4, 2, (choir, lead))
    write_midi(piece, tmp_path / "song.kar")
    events = parse_events((tmp_path / "song.kar").read_bytes())
    shown = [e.text.decode() for c in events.tracks for e in c.events if e.is_meta_of(TEXT)]
    assert shown[:2] == ["@KMIDI KARAOKE FILE", "@V0100"]
    assert shown[3:6] == ["\\Twin", "kle ", "twin"]
    read = quantize(read_music(tmp_path / "song.kar"), 4)
    assert sorted(words(read)) == [[""] * 8, SUNG]


def test_musicxml_has_syllables_under_notes_and_the_ends_of_lines(tmp_path: Path) -> None:
    tune = quantize(Score(QUARTER, (melody(),)), 4).tracks[0]
    piece = Piece(4, 2, (replace(tune, syllables=np.array(SUNG, np.str_)),))
    write_musicxml(piece, tmp_path / "song.musicxml")
    assert words(quantize(read_music(tmp_path / "song.musicxml"), 4)) == [SUNG]


@settings(max_examples=40)
@given(sung_pieces())
def test_words_stay_with_their_notes_in_windows_joins_and_merges(piece: Piece) -> None:
    assert words(join(windows(piece, 1, 1))) == words(replace(piece, bars=piece.bars))
    alone = merge(Score(4, tuple(replace(one, instrument=0) for one in piece.tracks)))
    sung = {text for one in piece.tracks for text in one.sung.tolist()}
    assert set(alone.tracks[0].sung.tolist()) <= sung


@given(texts)
def test_cleaning_a_text_twice_is_cleaning_it_once(text: str) -> None:
    once = clean_text(text)
    assert clean_text(once) == once
    assert len(once.encode()) <= 32


def test_marks_are_separated_from_text() -> None:
    assert split_mark(f"la{LINE_END}") == ("la", LINE_END)
    assert split_mark("la") == ("la", "")
    assert {WORD_END, LINE_END, VERSE_END} == set(MARKS)
