"""Files of notation as scores: notes, barlines, repeats, voices; and files that are none."""

from pathlib import Path

import pytest

from megatron_music.errors import ScoreError
from megatron_music.score.instruments import BASS, SOPRANO, TENOR
from megatron_music.score.notes import Metre, Score
from megatron_music.score.score_file import is_score, parse_score, read_scores, split_tunes
from megatron_music.score.score_stream import TICKS_PER_QUARTER, halved
from tests.scores import KERN, REPEAT, TUNE, head, measure, musicxml, packed


def quarters(score: Score, track: int = 0) -> list[tuple[float, float, int]]:
    """Return onset, end and pitch of the notes of a track, times in quarters."""
    of = score.tracks[track]
    times = (of.onset / TICKS_PER_QUARTER).tolist(), (of.end / TICKS_PER_QUARTER).tolist()
    return list(zip(*times, of.pitch.tolist(), strict=True))


def metres(score: Score) -> list[tuple[float, str]]:
    return [
        (metre.onset_ticks / TICKS_PER_QUARTER, f"{metre.numerator}/{metre.denominator}")
        for metre in score.metres
    ]


def one_bar(head: str = "") -> bytes:
    return musicxml(Piano=[measure(1, [("C4", 4)], head)])


def test_parts_are_voices_by_their_names_and_notes_keep_their_places() -> None:
    score = parse_score(
        musicxml(
            Soprano=[measure(1, [("C5", 1), ("", 1), ("E5", 2)], head())],
            Bassus=[measure(1, [("C3", 4)], head())],
        ),
        "a.musicxml",
    )
    assert [track.instrument for track in score.tracks] == [SOPRANO, BASS]
    assert quarters(score) == [(0, 1, 72), (2, 4, 76)]
    assert metres(score) == [(0, "4/4")]


def test_compressed_musicxml_is_the_same_score() -> None:
    score = musicxml(Tenor=[measure(1, [("C4", 4)], head())])
    unpacked = parse_score(score, "a.xml")
    assert parse_score(packed(score), "a.mxl") == unpacked
    assert unpacked.tracks[0].instrument == TENOR


@pytest.mark.parametrize(
    ("measures", "notes", "signs"),
    [
        # A repeat is played twice; a pick-up follows the incomplete bar that it fills.
        ([measure(0, [("G4", 1)], head()), measure(1, [("C5", 4)]),
          measure(2, [("D5", 3)], foot=REPEAT), measure(3, [("E5", 4)])],
         [(3, 4, 67), (4, 8, 72), (8, 11, 74), (11, 12, 67), (12, 16, 72), (16, 19, 74),
          (20, 24, 76)], [(0, "4/4")]),
        # Silence fills a bar that its score leaves incomplete.
        ([measure(1, [("C5", 3)], head()), measure(2, [("C5", 4)]), measure(3, [("D5", 3)]),
          measure(4, [("E5", 4)])],
         [(1, 4, 72), (4, 8, 72), (8, 11, 74), (12, 16, 76)], [(0, "4/4")]),
        # A change of metre begins on a barline.
        ([measure(1, [("C5", 4)], head()), measure(2, [("D5", 3)], head("3/4"))],
         [(0, 4, 72), (4, 7, 74)], [(0, "4/4"), (4, "3/4")]),
    ],
)  # fmt: skip
def test_measures_are_laid_out_in_whole_bars(
    measures: list[str], notes: list[tuple[int, int, int]], signs: list[tuple[int, str]]
) -> None:
    score = parse_score(musicxml(Piano=measures), "a.xml")
    assert quarters(score) == notes
    assert metres(score) == signs


def test_abc_is_read_with_its_endings() -> None:
    score = parse_score(TUNE.encode(), "tune.abc")
    assert metres(score) == [(0, "3/4")]
    pitches = [pitch for _, _, pitch in quarters(score)]
    assert pitches == [62, 67, 69, 71, 72, 71, 69, 62, 67, 69, 71, 72, 71, 67]
    assert quarters(score)[1][0] == 3


def test_a_file_of_several_tunes_is_several_scores(tmp_path: Path) -> None:
    path = tmp_path / "tunes.abc"
    path.write_text("% a book\n" + TUNE + "\n" + TUNE.replace("X:1", "X:2"), encoding="utf-8")
    assert len(split_tunes(path.read_bytes())) == 2
    one, other = read_scores(path)
    assert quarters(one) == quarters(other)


def test_kern_is_read_and_its_minims_are_halved_when_asked() -> None:
    score = parse_score(KERN.encode(), "a.krn")
    assert [track.instrument for track in score.tracks] == [SOPRANO, BASS]
    assert metres(score) == [(0, "4/2")]
    assert metres(halved(score)) == [(0, "4/4")]
    assert quarters(halved(score)) == [(0, 2, 72), (2, 4, 74), (4, 8, 71)]
    common = Score(4, (), (Metre(0, 4, 4), Metre(16, 2, 2)))
    assert halved(common) is common, "what is in quarters"


@pytest.mark.parametrize(
    ("name", "raw", "reason", "words"),
    [
        ("a.xml", b"", "empty", "empty"),
        ("a.xml", b"<svg/>", "foreign", "no MusicXML"),
        ("a.xml", b"<score-partwise>", "damaged", "cannot be read as MusicXML"),
        ("a.mxl", b"PK\x03\x04 cut", "damaged", "cannot be read"),
        ("a.krn", b"no spines here", "damaged", "Humdrum kern"),
        ("a.xml", one_bar(head("0/4")), "damaged", "cannot be read"),
        ("a.xml", one_bar(head("99/128")), "metre", "99/128"),
        ("a.xml", one_bar(), "metre", "no time signature"),
        ("a.xml", musicxml(), "silent", "no notes"),
    ],
)
def test_a_file_that_is_not_a_score_is_one_line_with_its_reason(
    name: str, raw: bytes, reason: str, words: str
) -> None:
    with pytest.raises(ScoreError, match=words) as fault:
        parse_score(raw, name)
    assert str(fault.value).startswith(f"{name} ")
    assert "\n" not in str(fault.value)
    assert fault.value.reason == reason
    assert not parse_score(musicxml(Piano=[measure(1, [("", 4)], head())]), "a.xml").tracks


def test_names_tell_notation_from_midi() -> None:
    assert is_score("C#.XML")
    assert is_score("book.abc#12")
    assert not is_score("song.mid")
    assert not is_score("xml")
