"""A piece as a picture: pitch upwards, time to the right, one colour a track.

Long pieces are broken into rows, as sheet music is; drums have a separate lane below.
"""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pretty_midi
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from megatron_music.files import atomic_write
from megatron_music.score.general_midi import instrument_title
from megatron_music.score.instruments import ALTO, BASS, DRUMS, SOPRANO, TENOR, VOICES
from megatron_music.score.metre import COMMON_TIME
from megatron_music.score.midi_writer import track_names
from megatron_music.score.notes import Piece

BoolArray = npt.NDArray[np.bool_]

VOICE_COLOURS = {SOPRANO: "#2e9e4f", ALTO: "#f28e2b", TENOR: "#2f6fb5", BASS: "#d13c3f"}
"""As in the article's figure 1: green, orange, blue, red."""

DRUM_COLOUR = "#7d828a"

PALETTE = (
    "#4477aa",
    "#ee6677",
    "#228833",
    "#ccaa22",
    "#66ccee",
    "#aa3377",
    "#ee8866",
    "#44bb99",
    "#8866cc",
    "#886600",
    "#99bb33",
    "#004488",
    "#cc3311",
    "#222222",
    "#bbaadd",
)
"""For other tracks, as many as channels: hues that stay apart for colour-blind eyes, too."""

BARS_A_ROW = 16
MOST_ROWS = 6
"""A piece that would need more rows gets longer ones."""

_DPI = 150
_NEW_COLOUR = "#fff3c4"
_KEPT_ALPHA = 0.45
"""Of what was kept, where some bars are new."""

_FADED = 0.8
"""The share of its colour that the softest note lacks, compared with the loudest."""

_VELOCITIES = 127

_INK = "#333333"
_OCTAVE = 12
_BLACK_KEYS = frozenset({1, 3, 6, 8, 10})
_NAMED_KEYS = frozenset({0, 4, 7})
_PITCH_CLASSES = ("C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B")


def draw_piano_roll(
    piece: Piece, path: Path, title: str = "", new: BoolArray | None = None
) -> None:
    """Draw `piece` into a PNG file; raises WriteError where that cannot be written.

    `new` are bars to mark [tracks, bars], none of them or all of them for nothing to mark.
    """
    figure = piano_roll(piece, title, new)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_DPI, metadata={"Software": "megatron-music"})


def piano_roll(piece: Piece, title: str = "", new: BoolArray | None = None) -> Figure:
    """Draw `piece` as a matplotlib figure that no pyplot state knows of.

    With `new`, bars composed anew are shaded, and what was kept is paler. Soft notes are paler than
    loud ones.
    """
    low, high = _pitch_range(piece)
    struck = {int(p) for track in piece.tracks if track.instrument == DRUMS for p in track.pitch}
    drums = sorted(struck)
    new = None if new is None or not new.any() or new.all() else new
    bars = max(piece.bars, 1)
    if bars > BARS_A_ROW:
        # Few enough rows for a page, each a multiple of eight bars.
        bars = max(BARS_A_ROW, -(-bars // MOST_ROWS // 8) * 8)
    rows = range(0, max(piece.bars, 1), bars)
    key_height = 0.075 if len(rows) == 1 else 0.055
    heights = [key_height * (high - low + 1), *([0.115 * len(drums)] if drums else [])]
    figure = Figure(
        figsize=(max(8.0, min(1.3 * bars, 15.0)), 1.0 + len(rows) * (0.35 + sum(heights))),
        layout="constrained",
    )
    FigureCanvasAgg(figure)
    panels = figure.subplots(
        len(rows) * len(heights),
        squeeze=False,
        gridspec_kw={"height_ratios": heights * len(rows)},
    ).reshape(len(rows), len(heights))
    starts = piece.bar_starts.tolist()
    marked = [] if new is None else np.flatnonzero(new.any(axis=0)).tolist()
    for first, lanes in zip(rows, panels, strict=True):
        _draw_keys(lanes[0], low, high)
        _draw_pitched(lanes[0], piece, first, bars, new)
        _draw_bars(lanes[0], piece, first, bars, numbered=True)
        if drums:
            _draw_drums(lanes[1], piece, drums, new)
            _draw_bars(lanes[1], piece, first, bars, numbered=False)
        for lane in lanes:
            for bar in (bar for bar in marked if first <= bar < first + bars):
                lane.axvspan(
                    starts[bar], starts[bar + 1], color=_NEW_COLOUR, linewidth=0, zorder=0.2
                )
    _draw_legend(figure, piece)
    if title:
        panels[0, 0].set_title(title, loc="left", fontsize=11, fontweight="bold", color=_INK)
    return figure


def track_colours(piece: Piece) -> tuple[str, ...]:
    """Choose a colour for each track: the article's for voices, grey for drums."""
    return instrument_colours([track.instrument for track in piece.tracks])


def instrument_colours(codes: Sequence[int]) -> tuple[str, ...]:
    """Choose a colour for each of these instruments."""
    hues = cycle(PALETTE)
    chosen = {}
    for place in sorted(range(len(codes)), key=codes.__getitem__):
        hue = VOICE_COLOURS.get(codes[place])
        if codes[place] == DRUMS:
            chosen[place] = DRUM_COLOUR
        else:
            chosen[place] = hue if hue and hue not in chosen.values() else next(hues)
    return tuple(chosen[place] for place in range(len(codes)))


def track_labels(piece: Piece) -> list[str]:
    """Name tracks for people, as in their MIDI file: Soprano, Drums, Violin, Violin 2."""
    named = zip(piece.tracks, track_names(piece), strict=True)
    return [name.capitalize() if track.instrument in VOICES else name for track, name in named]


def pitch_name(pitch: int) -> str:
    """Name a MIDI pitch: 60 is C4."""
    return f"{_PITCH_CLASSES[pitch % _OCTAVE]}{pitch // _OCTAVE - 1}"


def instrument_label(code: int) -> str:
    """Name an instrument for people: Soprano, Drums, Acoustic Grand Piano."""
    name = instrument_title(code)
    return name.capitalize() if code in VOICES else name


def _pitch_range(piece: Piece) -> tuple[int, int]:
    """Return the lowest and highest row shown: the notes and a little air, an octave at least."""
    columns = [track.pitch for track in piece.tracks if track.instrument != DRUMS and len(track)]
    if not columns:
        return 60, 72
    pitches = np.concatenate(columns)
    low, high = int(pitches.min()) - 2, int(pitches.max()) + 2
    lacking = max(0, _OCTAVE - (high - low))
    return max(0, low - lacking // 2), min(127, high + (lacking + 1) // 2)


def _row(piece: Piece, first: int, bars: int) -> tuple[int, int, int]:
    """Return the steps at which a row of `bars` bars begins and ends, and the longest row's."""
    starts = piece.bar_starts[range(0, piece.bars, bars)].tolist() or [0]
    lengths = np.diff([*starts, piece.steps])
    start, end = piece.bar_starts[[first, min(first + bars, piece.bars)]].tolist()
    return start, end, max(1, int(lengths.max()))


def _draw_bars(axes: Axes, piece: Piece, first: int, bars: int, numbered: bool) -> None:
    """Frame one row: bar lines, quarters where there is room, and numbers on every bar or some."""
    stride = -(-bars // 32)
    tall = axes.get_xaxis_transform()
    start, end, width = _row(piece, first, bars)
    last = min(first + bars, piece.bars)
    numbers = [*range(first, last, stride), *[last] * ((last - first) % stride == 0)]
    lines = piece.bar_starts[numbers].tolist()
    axes.vlines(lines, 0, 1, "#a4a9b0", linewidths=0.8, zorder=1, transform=tall)
    if bars <= BARS_A_ROW:
        quarters = range(start, end, piece.steps_per_quarter)
        axes.vlines(quarters, 0, 1, "#e4e6ea", linewidths=0.6, zorder=0.5, transform=tall)
    onsets = [onset for onset in lines if onset < end]
    names = [""] * len(onsets)
    for place, bar in enumerate(numbers[: len(onsets)] if numbered else ()):
        # The metre where it is new; 4/4 from the start needs no sign.
        before = piece.metre_of(bar - 1) if bar else COMMON_TIME
        metre = piece.metre_of(bar)
        names[place] = f"{bar + 1}  {metre}" if metre != before else str(bar + 1)
    axes.xaxis.tick_top()
    axes.set_xticks(onsets, names, fontsize=8, color=_INK, ha="left")
    axes.tick_params(length=0, pad=2)
    axes.set_xlim(start, start + width)
    axes.spines[:].set_visible(False)


def _draw_keys(axes: Axes, low: int, high: int) -> None:
    """Shade the rows of black keys and name C, E and G, or C alone where rows are many."""
    for pitch in range(low, high + 1):
        if pitch % _OCTAVE in _BLACK_KEYS:
            axes.axhspan(pitch - 0.5, pitch + 0.5, color="#f2f3f5", linewidth=0, zorder=0)
        if pitch % _OCTAVE == 0 and pitch > low:
            axes.axhline(pitch - 0.5, color="#d5d8dd", linewidth=0.8, zorder=1)
    named = _NAMED_KEYS if high - low <= 4 * _OCTAVE else {0}
    ticks = [pitch for pitch in range(low, high + 1) if pitch % _OCTAVE in named]
    axes.set_yticks(ticks, [pitch_name(pitch) for pitch in ticks], fontsize=7.5, color=_INK)
    axes.set_ylim(low - 0.5, high + 0.5)


def _draw_pitched(
    axes: Axes, piece: Piece, first: int, bars: int, new: BoolArray | None = None
) -> None:
    """Draw the notes of a row; one that another track doubles is drawn slim, over it."""
    start, end, _ = _row(piece, first, bars)
    taken = np.zeros((128, end), dtype=bool)
    for index, (track, colour) in enumerate(zip(piece.tracks, track_colours(piece), strict=True)):
        if track.instrument == DRUMS:
            continue
        notes = [
            (max(onset, start), min(off, end), pitch, alpha)
            for onset, off, pitch, alpha in _notes(piece, index, new)
            if onset < end and off > start
        ]
        # Before this track's notes are marked: it must not cover itself.
        blocks = [
            (onset, off, pitch, 0.2 if taken[pitch, onset:off].any() else 0.4, alpha)
            for onset, off, pitch, alpha in notes
        ]
        for onset, off, pitch, _ in notes:
            taken[pitch, onset:off] = True
        _add_blocks(axes, blocks, colour, edge=0.8 if bars <= BARS_A_ROW else 0.2)


def _draw_drums(axes: Axes, piece: Piece, drums: list[int], new: BoolArray | None = None) -> None:
    """Draw one row for each drum that is struck; its length says nothing: all are sixteenths."""
    stroke = piece.steps_per_quarter / 4
    for index, track in enumerate(piece.tracks):
        if track.instrument == DRUMS:
            blocks = [
                (onset, onset + stroke, drums.index(pitch), 0.35, alpha)
                for onset, _, pitch, alpha in _notes(piece, index, new)
            ]
            _add_blocks(axes, blocks, DRUM_COLOUR, edge=0.3)
    names = [pretty_midi.note_number_to_drum_name(pitch) or f"drum {pitch}" for pitch in drums]
    axes.set_yticks(range(len(drums)), names, fontsize=6.5, color=_INK)
    axes.set_ylim(-0.6, len(drums) - 0.4)
    axes.set_facecolor("#fafafa")


def _notes(piece: Piece, index: int, new: BoolArray | None) -> list[tuple[int, int, int, float]]:
    """Return onset, end and pitch of a track's notes, and how solid each is drawn.

    Less if kept, or softer than the loudest note of the piece.
    """
    track = piece.tracks[index]
    loudest = max((int(one.loudness.max()) for one in piece.tracks if len(one)), default=0)
    softer = (loudest - track.loudness) / _VELOCITIES
    # Where nothing is marked as composed, all notes are new.
    bar = piece.bar_at(track.onset)
    is_new = np.ones(len(bar), np.bool_) if new is None else new[index][bar]
    alphas = np.where(is_new, 1.0, _KEPT_ALPHA) * (1 - _FADED * softer)
    columns = (track.onset.tolist(), track.end.tolist(), track.pitch.tolist(), alphas.tolist())
    return list(zip(*columns, strict=True))


def _add_blocks(
    axes: Axes,
    blocks: Sequence[tuple[float, float, int, float, float]],
    colour: str,
    edge: float,
) -> None:
    """Draw blocks, each given by its onset, end, row, half its height, and how solid it is."""
    if not blocks:
        return
    corners = [
        [(onset, row - half), (end, row - half), (end, row + half), (onset, row + half)]
        for onset, end, row, half, _ in blocks
    ]
    faces = [to_rgba(colour, alpha) for *_, alpha in blocks]
    axes.add_collection(
        PolyCollection(corners, facecolors=faces, edgecolors="white", linewidths=edge, zorder=3)
    )


def _draw_legend(figure: Figure, piece: Piece) -> None:
    """Name the tracks below the picture, all drums as one, in as many columns as fit."""
    drums = instrument_label(DRUMS)
    named = [
        (colour, drums if colour == DRUM_COLOUR else label)
        for colour, label in zip(track_colours(piece), track_labels(piece), strict=True)
    ]
    patches = [Patch(facecolor=colour, label=label) for colour, label in dict.fromkeys(named)]
    if patches:
        figure.legend(
            handles=patches,
            loc="outside lower center",
            ncols=max(1, min(len(patches), int(figure.get_figwidth() // 1.9))),
            frameon=False,
            fontsize=8,
            labelcolor=_INK,
            handlelength=1.2,
            handleheight=0.7,
        )
