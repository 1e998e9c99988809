"""The piano roll: the article's figure 1, for any piece."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import imread

from megatron_music.errors import WriteError
from megatron_music.score.instruments import ALTO, BASS, DRUMS, SOPRANO, TENOR
from megatron_music.score.notes import Piece
from megatron_music.score.pianoroll import (
    DRUM_COLOUR,
    draw_piano_roll,
    instrument_label,
    piano_roll,
    pitch_name,
    track_colours,
)
from tests.music import track


def chorale(bars: int = 2) -> Piece:
    last = 16 * bars
    return Piece(
        4,
        bars,
        (
            track(SOPRANO, (0, 4, 72), (4, last, 74)),
            track(ALTO, (0, last, 67)),
            track(TENOR, (0, last, 64)),
            track(BASS, (0, last, 48)),
        ),
    )


def band(bars: int = 2) -> Piece:
    drums = track(DRUMS, (0, 1, 36), (4, 5, 38))
    programs = [track(program, (0, 16 * bars, 40 + program)) for program in range(0, 36, 4)]
    return Piece(4, bars, (*programs, drums))


def blocks(figure: Figure) -> dict[str, list[tuple[float, float, float, float]]]:
    """Return the drawn notes by colour, as (left, right, bottom, top)."""
    drawn: dict[str, list[tuple[float, float, float, float]]] = {}
    for axes in figure.axes:
        for part in axes.collections:
            if isinstance(part, PolyCollection):
                boxes = [path.get_extents() for path in part.get_paths()]
                colour = to_hex(np.asarray(part.get_facecolor())[0])
                drawn.setdefault(colour, []).extend((b.x0, b.x1, b.y0, b.y1) for b in boxes)
    return drawn


def test_the_voices_wear_the_articles_colours() -> None:
    soprano, alto, tenor, bass = (bytes.fromhex(hue[1:]) for hue in track_colours(chorale()))
    red, green, blue = soprano
    assert green > max(red, blue)
    red, green, blue = alto
    assert red > green > blue
    red, green, blue = tenor
    assert blue > max(red, green)
    red, green, blue = bass
    assert red > 2 * max(green, blue)


def test_ten_tracks_have_ten_colours_and_the_drums_are_grey() -> None:
    colours = track_colours(band())
    assert len(set(colours)) == 10
    assert colours[-1] == DRUM_COLOUR


def test_every_note_is_drawn_where_it_sounds() -> None:
    piece = chorale()
    drawn = blocks(piano_roll(piece))
    for part, colour in zip(piece.tracks, track_colours(piece), strict=True):
        boxes = drawn[colour]
        where = [(left, right, (low + high) / 2) for left, right, low, high in boxes]
        expected = list(zip(part.onset, part.end, part.pitch, strict=True))
        assert where == [pytest.approx(note) for note in expected]


def test_soft_notes_are_paler_than_loud_ones() -> None:
    def alphas(velocities: list[int]) -> list[float]:
        notes = track(0, (0, 4, 60), (4, 8, 62))
        loud = replace(notes, velocity=np.array(velocities))
        [axes, *_] = piano_roll(Piece(4, 1, (loud,))).axes
        [drawn] = [one for one in axes.collections if isinstance(one, PolyCollection)]
        return [float(face[3]) for face in drawn.get_facecolor()]

    assert alphas([90, 90]) == [1.0, 1.0]
    assert alphas([20, 120])[0] < 0.5 < alphas([20, 120])[1] == 1.0


def test_a_unison_shows_both_voices() -> None:
    piece = Piece(4, 1, (track(TENOR, (0, 16, 52)), track(BASS, (0, 16, 52))))
    drawn = blocks(piano_roll(piece))
    tenor, bass = track_colours(piece)
    (_, _, tenor_low, tenor_high), (_, _, bass_low, bass_high) = (
        drawn[tenor][0],
        drawn[bass][0],
    )
    assert tenor_low < bass_low < bass_high < tenor_high


def test_bars_are_numbered_and_pitches_named() -> None:
    axes = piano_roll(chorale(8)).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == list("12345678")
    assert axes.get_xticks().tolist() == [16 * bar for bar in range(8)]
    names = dict(
        zip(axes.get_yticks(), (t.get_text() for t in axes.get_yticklabels()), strict=True)
    )
    assert names[60] == "C4"
    assert names[72] == "C5"


def test_the_legend_tells_tracks_of_one_instrument_apart_and_names_the_drums_once() -> None:
    codes = (0, DRUMS, 0, BASS, BASS, DRUMS)
    legend = piano_roll(Piece(4, 1, tuple(track(code, (0, 1, 60)) for code in codes))).legends[0]
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["Acoustic Grand Piano", "Drums", "Acoustic Grand Piano 2", "Bass", "Bass"]
    assert len({patch.get_facecolor() for patch in legend.get_patches()}) == len(names)
    assert [instrument_label(code) for code in (SOPRANO, BASS)] == ["Soprano", "Bass"]


def test_drums_have_a_lane_of_their_own_with_their_names() -> None:
    _, lane = piano_roll(band()).axes
    assert [label.get_text() for label in lane.get_yticklabels()] == [
        "Bass Drum 1",
        "Acoustic Snare",
    ]


@pytest.mark.parametrize(("bars", "rows"), [(8, 1), (16, 1), (17, 2), (96, 6), (500, 6)])
def test_long_pieces_are_broken_into_rows_that_hold_every_bar(bars: int, rows: int) -> None:
    axes = piano_roll(chorale(bars)).axes
    assert len(axes) == rows
    edges = [panel.get_xlim() for panel in axes]
    assert edges[0][0] == 0
    assert edges[-1][0] < 16 * bars <= edges[-1][1]
    assert [right for _, right in edges[:-1]] == [left for left, _ in edges[1:]]


def test_pitch_names_count_octaves_from_middle_c() -> None:
    assert [pitch_name(pitch) for pitch in (0, 60, 61, 127)] == ["C-1", "C4", "C♯4", "G9"]


@pytest.mark.parametrize("piece", [chorale(), band(), Piece(4, 1, ()), Piece(4, 0, ())])
def test_the_file_is_a_picture_and_nothing_else_is_left(piece: Piece, tmp_path: Path) -> None:
    draw_piano_roll(piece, tmp_path / "roll.png", title="a title")
    height, width, _ = imread(tmp_path / "roll.png").shape
    assert width > 1000
    assert height > 150
    assert [path.name for path in tmp_path.iterdir()] == ["roll.png"]


def test_the_same_piece_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        draw_piano_roll(chorale(), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(WriteError, match="cannot write"):
        draw_piano_roll(chorale(), tmp_path / "taken")
