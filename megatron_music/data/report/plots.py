"""Statistics of a data set as pictures."""

from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from megatron_music.data.counts import Contents, Counts, shortened
from megatron_music.data.report.stats import Statistics
from megatron_music.formatting import counted
from megatron_music.score.general_midi import instrument_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOUR = "#2f6fb5"
CONTEXT_COLOUR = "#d13c3f"
MOST_INSTRUMENTS = 20
_LENGTH_BINS = 80


def pictures(made: Statistics) -> dict[str, bytes]:
    """Return PNGs by name: what each shows is in its title."""
    contents = made.contents
    sample = f"{counted(made.sampled_documents, 'document')} for training"
    per_quarter = contents.vocabulary.settings.steps_per_quarter
    most_tracks = int(np.flatnonzero(made.tracks)[-1]) if made.tracks.any() else 0
    # What is counted by small numbers: counts, what is across, what is upwards, title, ticks.
    bars = {
        "pitches": (
            contents.pitches,
            "pitch (60 is middle C), drums included",
            "notes",
            "Notes by pitch",
            range(0, 128, 12),
        ),
        "note-lengths": (
            made.note_steps,
            f"length in steps, {per_quarter} a quarter note; the last is that or longer",
            "notes",
            f"Notes by length, without drums ({sample})",
            None,
        ),
        "tracks": (
            made.tracks[: most_tracks + 1],
            "tracks of a document",
            "documents",
            f"Documents by tracks ({sample})",
            None,
        ),
        "densities": (
            contents.densities,
            "density level",
            "tracks of documents",
            "Tracks by density level",
            range(len(contents.densities)),
        ),
    }
    if not contents.densities.any():  # of a vocabulary without them
        del bars["densities"]
    drawings: dict[str, Callable[[Axes], None]] = {
        "document-lengths": partial(_document_lengths, contents),
        "instruments": partial(_instruments, contents),
        **{name: partial(_bars, *row) for name, row in bars.items()},
    }
    return {name: _png(draw) for name, draw in drawings.items()}


def _png(draw: "Callable[[Axes], None]") -> bytes:
    from matplotlib.figure import Figure

    picture = Figure(figsize=(8, 4.5), layout="constrained")
    axes = picture.subplots()
    draw(axes)
    axes.spines[["top", "right"]].set_visible(False)
    file = BytesIO()
    # Without the version of matplotlib in the file.
    picture.savefig(file, format="png", dpi=120, metadata={"Software": None})
    return file.getvalue()


def _document_lengths(contents: Contents, axes: "Axes") -> None:
    """Draw the documents' lengths with the usual contexts across them."""
    counts = contents.document_tokens
    width = -(-len(counts) // _LENGTH_BINS)
    padded = np.pad(counts, (0, -len(counts) % width))
    heights = padded.reshape(-1, width).sum(axis=1)
    axes.bar(np.arange(len(heights)) * width, heights, width, align="edge", color=COLOUR)
    for size, share in contents.fitting().items():
        if size <= 1.2 * len(counts):
            axes.axvline(size, color=CONTEXT_COLOUR, linestyle="--", linewidth=1)
            text = f" {size}: {share:.1%} fit"
            axes.text(size, 0.98, text, rotation=90, va="top", transform=axes.get_xaxis_transform())
    axes.set_ylim(top=1.35 * max(1, heights.max()))  # room for the words
    axes.set_xlabel("tokens of a document")
    axes.set_ylabel("documents")
    axes.set_title("Documents by length, and the share that each context holds whole")


def _instruments(contents: Contents, axes: "Axes") -> None:
    named = [(instrument_title(code), count) for code, count in contents.instruments.items()]
    rows = shortened(named, MOST_INSTRUMENTS)
    axes.barh([name for name, _ in rows], [count for _, count in rows], color=COLOUR)
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=8)
    axes.set_xlabel("tracks of documents")
    axes.set_title("Tracks by instrument")


def _bars(
    counts: Counts, across: str, upwards: str, title: str, ticks: range | None, axes: "Axes"
) -> None:
    axes.bar(np.arange(len(counts)), counts, 0.9, color=COLOUR)
    if ticks is None:
        axes.locator_params(axis="x", integer=True)
    else:
        axes.set_xticks(ticks)
    axes.set_xlabel(across)
    axes.set_ylabel(upwards)
    axes.set_title(title)
