"""Chorales as music21 writes them, four voices on whole bars."""

import pytest
from music21 import chord, meter, note, stream, tie

from megatron_music.data.records import Refusal
from megatron_music.data.settings import BuildSettings
from megatron_music.data.shards.encode_piece import validate_score
from megatron_music.data.sources.corpus import TICKS_PER_QUARTER, Chorale, chorale_score, chorales
from megatron_music.score.instruments import ALTO, BASS, SOPRANO, TENOR
from megatron_music.score.quantize import quantize

Measures = list[list[note.GeneralNote]]


def chorale(*parts: Measures, metre: str = "4/4") -> stream.Score:
    """Make a score as music21's reader does: parts of measures of notes."""
    whole = stream.Score()
    for measures in parts:
        part, offset = stream.Part(), 0.0
        for number, notes in enumerate(measures):
            measure = stream.Measure(number=number)
            if not number:
                measure.insert(0, meter.TimeSignature(metre))
            for one in notes:
                measure.append(one)
            part.insert(offset, measure)
            offset += float(measure.duration.quarterLength)
        whole.insert(0, part)
    return whole


def held(pitch: int, quarters: float, kind: str | None = None) -> note.Note:
    made = note.Note(pitch, quarterLength=quarters)
    if kind:
        made.tie = tie.Tie(kind)
    return made


def voices(*measures: list[tuple[int, float]]) -> list[Measures]:
    return [[[held(p, q) for p, q in notes] for notes in measures] for _ in range(4)]


def test_the_first_chorales_of_the_edition_are_there() -> None:
    found = chorales()
    assert len(found) == 371
    assert [item.name for item in found[:2]] == ["001-bwv269", "002-bwv347"]
    assert len({item.name for item in found}) == 371


def test_bwv_347_begins_with_its_pick_up_at_the_end_of_a_bar() -> None:
    piece = quantize(Chorale(2, "bach/bwv347").read(), 4)
    assert [track.instrument for track in piece.tracks] == [SOPRANO, ALTO, TENOR, BASS]
    soprano = piece.tracks[0]
    assert soprano.onset[:5].tolist() == [12, 16, 20, 24, 28]
    assert soprano.pitch[:5].tolist() == [69, 69, 69, 69, 71]
    assert [int(track.pitch[0]) for track in piece.tracks] == [69, 64, 61, 57]


def test_a_waltz_is_kept_where_its_metre_is() -> None:
    chorale = Chorale(1, "bach/bwv269").read()
    with pytest.raises(Refusal, match=r"3/4; only stretches of 4/4"):
        validate_score(chorale, BuildSettings(voices=True))
    kept, _, _ = validate_score(chorale, BuildSettings(voices=True, metres=("4/4", "3/4")))
    piece = quantize(kept, 4)
    assert set(map(str, piece.metres)) == {"3/4"}
    soprano = piece.tracks[0]
    assert soprano.onset[:4].tolist() == [8, 12, 20, 24]  # its pick-up ends the first bar


@pytest.mark.parametrize(
    ("work", "file"),
    [
        ("bach/bwv248.35-3", "bwv248.35-3.mxl"),
        ("bach/bwv281", "bwv281.mxl"),
        ("bach/bwv112.5", "bwv112.5.mxl"),
        ("bach/bwv244.3", "bwv244.3.mxl"),
    ],
)
def test_a_work_is_the_file_of_exactly_its_name(work: str, file: str) -> None:
    assert Chorale(1, work).path.name == file


def test_tied_notes_are_one_note_across_barlines() -> None:
    tied = [
        [held(60, 2), held(62, 2, "start")],
        [held(62, 4, "continue")],
        [held(62, 1, "stop"), held(62, 3)],
    ]
    score = chorale_score(chorale(tied, *voices([(50, 4)], [(50, 4)], [(50, 4)])[:3]))
    quarter = TICKS_PER_QUARTER
    track = score.tracks[0]
    assert (track.onset // quarter).tolist() == [0, 2, 9]
    assert (track.end // quarter).tolist() == [2, 9, 12]


def test_a_tie_that_leads_nowhere_begins_a_note() -> None:
    broken = [[held(60, 1), note.Rest(quarterLength=1), held(60, 2, "stop")]]
    score = chorale_score(chorale(broken, *voices([(50, 4)])[:3]))
    assert (score.tracks[0].onset // TICKS_PER_QUARTER).tolist() == [0, 2]


def test_rests_chords_and_triplets_keep_their_places_exactly() -> None:
    third = 1 / 3
    notes = [
        note.Rest(quarterLength=1),
        note.Note(60, quarterLength=third),
        note.Note(62, quarterLength=third),
        note.Note(64, quarterLength=third),
        chord.Chord([65, 69], quarterLength=1.875),
        note.Note(66, quarterLength=0.125),
    ]
    score = chorale_score(chorale([notes], *voices([(50, 4)])[:3]))
    track = score.tracks[0]
    ticks = [10_080, 13_440, 16_800, 20_160, 20_160, 39_060]
    assert track.onset.tolist() == ticks
    assert track.end.tolist() == [13_440, 16_800, 20_160, 39_060, 39_060, 40_320]
    assert track.pitch.tolist() == [60, 62, 64, 65, 69, 66]


def test_a_bar_split_by_a_repeat_stays_one_bar() -> None:
    score = chorale_score(chorale(*voices([(60, 1)], [(62, 4)], [(64, 3)], [(65, 1)], [(67, 4)])))
    assert (score.tracks[0].onset // TICKS_PER_QUARTER).tolist() == [3, 4, 8, 11, 12]


def test_a_whole_bar_off_the_grid_is_refused() -> None:
    with pytest.raises(Refusal, match="barline") as refusal:
        chorale_score(chorale(*voices([(60, 4)], [(62, 3)], [(64, 4)])))
    assert refusal.value.reason == "barlines"


def test_another_metre_or_another_number_of_parts_is_refused() -> None:
    with pytest.raises(Refusal, match="17/16"):
        chorale_score(chorale(*voices([(60, 4.25)]), metre="17/16"))
    with pytest.raises(Refusal, match="3 parts"):
        chorale_score(chorale(*voices([(60, 4)])[:3]))


def test_a_voice_without_notes_is_left_to_quantizing() -> None:
    silent = [[note.Rest(quarterLength=4)]]
    score = chorale_score(chorale(silent, *voices([(50, 4)])[:3]))
    assert [track.instrument for track in quantize(score, 4).tracks] == [ALTO, TENOR, BASS]
