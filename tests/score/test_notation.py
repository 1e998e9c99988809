"""Files of notation as scores: notes, barlines, repeats, voices; and files that are none."""

from pathlib import Path

import pytest

from megatron_music.errors import ScoreError
from megatron_music.score.abc_tunes import split_tunes
from megatron_music.score.instruments import BASS, SOPRANO, TENOR
from megatron_music.score.music21_stream import halved
from megatron_music.score.notation import is_score, parse_score, read_scores
from megatron_music.score.notes import Metre, Score
from megatron_music.score.repeats import TICKS_PER_QUARTER
from tests.scores import KERN, REPEAT, TUNE, head, measure, musicxml, packed, tempo


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


def tune(body: str, *fields: str) -> Score:
    return parse_score("\n".join(["X:1", *fields, "K:C", body]).encode(), "tune.abc")


@pytest.mark.parametrize(
    ("body", "signs", "onsets"),
    [
        # A metre of its own line or in brackets; the unit of length changes with the last.
        ("CDEF|GABc|\nM:3/4\nCDE|FGA|\nM:6/8\nL:1/8\nCDEFGA|c6|",
         [(0, "4/4"), (8, "3/4"), (14, "6/8")],
         [*range(14), 14, 14.5, 15, 15.5, 16, 16.5, 17]),
        ("CDEF|GABc|[M:3/4]CDE|FGA|[M:6/8][L:1/8] CDEFGA|c6|",
         [(0, "4/4"), (8, "3/4"), (14, "6/8")],
         [*range(14), 14, 14.5, 15, 15.5, 16, 16.5, 17]),
        # Pick-ups end on barlines, at the beginning and after a change.
        ("G|CDEF|GAB||\nM:3/4\nc|CDE|FG|]", [(0, "4/4"), (12, "3/4")],
         [*range(3, 11), *range(14, 20)]),
        # A unit of length changes within a bar; a comment is no field.
        ("CDE[L:1/8]FG|GABc GABc|% [M:3/4]\nc8|", [(0, "4/4")],
         [0, 1, 2, 3, 3.5, *(4 + place / 2 for place in range(8)), 8]),
        # A note before a double bar is a note.
        ("CDEF|GABA::CDEF|GABc:|", [(0, "4/4")], [*range(32)]),
        # A change without a barline begins a bar.
        ("CDEF|GABc\nM:3/4\nCDE|", [(0, "4/4"), (8, "3/4")], [*range(11)]),
    ],
)  # fmt: skip
def test_fields_inside_a_tune_hold_from_there_on(
    body: str, signs: list[tuple[float, str]], onsets: list[float]
) -> None:
    score = tune(body, "M:4/4", "L:1/4")
    assert metres(score) == signs
    assert [onset for onset, _, _ in quarters(score)] == onsets


def test_the_lines_of_a_voice_of_a_tune_are_one_part() -> None:
    lines = ["[V:T] cdef|gabc'|", "[V:B] x4|D4|", "[V:T] M:3/4", "cde|f3|", "[V:B][M:3/4]C3|D3|"]
    score = tune("\n".join(lines).replace("[V:T] M", "V:T\nM"), "L:1/4", "V:T", "V:B", "M:4/4")
    assert metres(score) == [(0, "4/4"), (8, "3/4")]
    assert quarters(score)[-2:] == [(10, 11, 76), (11, 14, 77)]
    assert quarters(score, 1) == [(4, 8, 62), (8, 11, 60), (11, 14, 62)]


@pytest.mark.parametrize(
    ("body", "form"),
    [
        # A repeat without a beginning goes back to the end of the one before, not to the first bar.
        ("CCCC|DDDD:|EEEE|FFFF:|GGGG|", "CDCDEFEFG"),
        ("CCCC|DDDD:|:EEEE|FFFF:|GGGG|", "CDCDEFEFG"),
        ("CCCC|DDDD::[K:G][L:1/8]E2E2E2E2|A8:|", "CDCDEAEA"),
        ("CCCC|1DDDD:|2EEEE|FFFF|1GGGG:|2AAAA|]", "CDCEFGFA"),
        # What stands before a written beginning is played once. Double barlines are barlines.
        ("CCCC|AAAA|:[K:G]DDDD|EEEE:|", "CADEDE"),
        ("C|DDDD||EEEE|AAAA:|", "CDEACDEA"),
        ("CCCC|DDDD|EEEE|", "CDE"),
        # Third and further endings; an ending of several passes.
        ("CCCC|1DDDD:|2EEEE:|3FFFF|GGGG|]", "CDCECFG"),
        ("AAAA|:CCCC|[1-2DDDD:|[3EEEE::FFFF:|", "ACDCDCEFF"),
        ("CCCC|1DDDD:|2EEEE|]", "CDCE"),
        ("CCCC|3-1DDDD:|EEEE|", "CDCDCDE"),
        # The unit of length is that of the beginning again.
        ("CCCC|[L:1/8]D8|1E8:|2F8:|3G8|[L:1/4]A4|", "CDECDFCDGA"),
        # A tune of one bar, and of two, with a bar in an annotation.
        ("CCCC:|", "CC"),
        ('"|1"CCCC|DDDD:|', "CDCD"),
    ],
)
def test_repeats_of_a_tune_are_played_in_their_order(body: str, form: str) -> None:
    letters = dict(zip((60, 62, 64, 65, 67, 69, 71), "CDEFGAB", strict=True))
    score = tune(body, "M:4/4", "L:1/4")
    bars = {onset // 4: letters[pitch] for onset, _, pitch in quarters(score)}
    assert "".join(bars.values()) == form


def test_the_pick_up_of_a_tune_of_a_bar_ends_on_its_barline() -> None:
    assert [onset for onset, _, _ in quarters(tune("C|DEFG", "M:4/4", "L:1/4"))] == [*range(3, 8)]


def test_a_change_in_one_voice_of_a_tune_is_none_of_the_next() -> None:
    lines = ["V:1", "FFFF|[K:D][L:1/8]F8|", "V:2", "FFFF|F4|"]
    score = tune("\n".join(lines), "M:4/4", "L:1/4")
    beats = [(0, 1, 65), (1, 2, 65), (2, 3, 65), (3, 4, 65)]
    assert quarters(score) == [*beats, (4, 8, 66)]
    assert quarters(score, 1) == [*beats, (4, 8, 65)]


def test_the_first_mark_of_a_tempo_holds_from_where_it_is_written() -> None:
    score = tune("CDEF|GABc|[Q:1/4=60]CDEF|", "M:4/4", "L:1/4")
    tempos = [(one.onset_ticks / TICKS_PER_QUARTER, one.quarter_us) for one in score.tempos]
    assert tempos == [(0, 500_000), (8, 1_000_000)]


def test_remarks_and_sums_in_a_tune_are_not_music() -> None:
    plain = tune("C2D2E2F|GABcdef|", "M:7/8", "L:1/8")
    odd = tune("[r:bad]C2+fermata+D2E2F|GAB[N:x]cdef|", "M:(3+2+2)/8", "L:1/8")
    assert (quarters(odd), metres(odd)) == (quarters(plain), metres(plain))


def test_a_tune_without_a_unit_of_length_is_of_eighths() -> None:
    assert quarters(tune("[M:2/4]CDEF|GABc|"))[:3] == [(0, 0.5, 60), (0.5, 1, 62), (1, 1.5, 64)]


def test_tempos_are_read_where_they_change_and_repeated_with_their_measures() -> None:
    score = parse_score(
        musicxml(
            Piano=[
                measure(1, [("C5", 4)], head() + tempo(120)),
                measure(2, [("D5", 4)], tempo(60)),
                measure(3, [("E5", 4)], foot=REPEAT),
                measure(4, [("F5", 4)], tempo(90)),
            ]
        ),
        "a.xml",
    )
    assert score.tempo_bpm == 120
    assert [(one.onset_ticks / TICKS_PER_QUARTER, one.quarter_us) for one in score.tempos] == [
        (0, 500_000), (4, 1_000_000), (12, 500_000), (16, 1_000_000), (24, 666_667),
    ]  # fmt: skip


def test_a_file_of_several_tunes_is_several_scores(tmp_path: Path) -> None:
    path = tmp_path / "tunes.abc"
    path.write_text("% a book\n" + TUNE + "\n" + TUNE.replace("X:1", "X:2"), encoding="utf-8")
    assert len(split_tunes(path.read_bytes())) == 2
    one, other = read_scores(path)
    assert quarters(one) == quarters(other)


def test_a_tune_that_cannot_be_read_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "tunes.abc"
    bad = TUNE.replace("X:1", "X:27").replace("3/4", "0/4")
    path.write_text(f"{TUNE}\n{bad}\n{TUNE}", encoding="utf-8")
    left_out: list[ScoreError] = []
    assert len(read_scores(path, left_out.append)) == 2
    [fault] = left_out
    line = TUNE.count("\n") + 2
    assert str(fault).startswith(f"{path} (X:27, line {line}) is in 0/4")
    with pytest.raises(ScoreError, match=r"\(X:27, line"):
        read_scores(path)
    path.write_text(f"{bad}\n{bad}", encoding="utf-8")
    with pytest.raises(ScoreError, match=r"\(X:27, line 1\)"):
        read_scores(path, left_out.append)


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
        ("a.xml", b"<score-partwise>", "damaged", "breaks at line 1, column 17"),
        ("a.mxl", b"PK\x03\x04 cut", "damaged", "ZIP container is damaged"),
        ("a.mxl", b"a letter", "foreign", "no ZIP file"),
        ("a.krn", b"no spines here", "foreign", "no Humdrum kern"),
        ("a.krn", KERN.replace(".\t1dd", "1dd").encode(), "damaged", "line 6 has 1 columns for 2"),
        ("a.abc", b"Dear diary, all is well.", "foreign", "no ABC"),
        ("a.abc", TUNE.replace("L:1/4", "L:0").encode(), "damaged", "cannot be read as ABC;"),
        ("a.xml", one_bar(head("0/4")), "metre", "0/4"),
        ("a.abc", TUNE.replace("M:3/4", "M:0/4").encode(), "metre", "0/4"),
        ("a.krn", KERN.replace("4/2", "0/4").encode(), "metre", "0/4"),
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
