"""Statistics of a data set as pictures."""

from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from megatron_music.data.counts import Counts, shortened
from megatron_music.data.report.stats import Statistics
from megatron_music.score.general_midi import instrument_title
from megatron_music.wording import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOUR = "#2f6fb5"
CONTEXT_COLOUR = "#d13c3f"
MOST_INSTRUMENTS = 20
_LENGTH_BINS = 80


def pictures(made: Statistics) -> dict[str, bytes]:
    """Return PNGs by name: what each shows is in its title."""
    drawings: dict[str, Callable[[Axes, Statistics], None]] = {
        "document-lengths": _document_lengths,
        "instruments": _instruments,
        "pitches": _pitches,
        "note-lengths": _note_lengths,
        "tracks": _tracks,
    }
    if made.contents.densities.any():
        drawings["densities"] = _densities
    return {name: _png(draw, made) for name, draw in drawings.items()}


def _png(draw: "Callable[[Axes, Statistics], None]", made: Statistics) -> bytes:
    from matplotlib.figure import Figure

    picture = Figure(figsize=(8, 4.5), layout="constrained")
    axes = picture.subplots()
    draw(axes, made)
    axes.spines[["top", "right"]].set_visible(False)
    file = BytesIO()
    picture.savefig(file, format="png", dpi=120, metadata={"Software": None})
    return file.getvalue()


def _document_lengths(axes: "Axes", made: Statistics) -> None:
    """Draw the documents' lengths with the usual contexts across them."""
    counts = made.contents.document_tokens
    width = -(-len(counts) // _LENGTH_BINS)
    padded = np.pad(counts, (0, -len(counts) % width))
    heights = padded.reshape(-1, width).sum(axis=1)
    axes.bar(np.arange(len(heights)) * width, heights, width, align="edge", color=COLOUR)
    for size, share in made.contents.fitting().items():
        if size <= 1.2 * len(counts):
            axes.axvline(size, color=CONTEXT_COLOUR, linestyle="--", linewidth=1)
            text = f" {size}: {share:.1%} fit"
            axes.text(size, 0.98, text, rotation=90, va="top", transform=axes.get_xaxis_transform())
    axes.set_ylim(top=1.35 * max(1, heights.max()))  # room for the words
    axes.set_xlabel("tokens of a document")
    axes.set_ylabel("documents")
    axes.set_title("Documents by length, and the share that each context holds whole")


def _instruments(axes: "Axes", made: Statistics) -> None:
    named = [(instrument_title(code), count) for code, count in made.contents.instruments.items()]
    rows = shortened(named, MOST_INSTRUMENTS)
    axes.barh([name for name, _ in rows], [count for _, count in rows], color=COLOUR)
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=8)
    axes.set_xlabel("tracks of documents")
    axes.set_title("Tracks by instrument")


def _pitches(axes: "Axes", made: Statistics) -> None:
    _bars(axes, made.contents.pitches, "pitch (60 is middle C), drums included", "notes")
    axes.set_xticks(range(0, 128, 12))
    axes.set_title("Notes by pitch")


def _densities(axes: "Axes", made: Statistics) -> None:
    _bars(axes, made.contents.densities, "density level", "tracks of documents")
    axes.set_xticks(range(len(made.contents.densities)))
    axes.set_title("Tracks by density level")


def _note_lengths(axes: "Axes", made: Statistics) -> None:
    per_quarter = made.contents.vocabulary.settings.steps_per_quarter
    axis = f"length in steps, {per_quarter} a quarter note; the last is that or longer"
    _bars(axes, made.note_steps, axis, "notes")
    axes.set_title(f"Notes by length, without drums ({_sample(made)})")


def _tracks(axes: "Axes", made: Statistics) -> None:
    last = int(np.flatnonzero(made.tracks)[-1]) if made.tracks.any() else 0
    _bars(axes, made.tracks[: last + 1], "tracks of a document", "documents")
    axes.set_title(f"Documents by tracks ({_sample(made)})")


def _sample(made: Statistics) -> str:
    return f"{counted(made.sampled_documents, 'document')} for training"


def _bars(axes: "Axes", counts: Counts, across: str, upwards: str) -> None:
    axes.bar(np.arange(len(counts)), counts, 0.9, color=COLOUR)
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel(across)
    axes.set_ylabel(upwards)
