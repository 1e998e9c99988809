"""The instruments of training windows, which songs from nothing are drawn from."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from megatron_music.tokenizer.vocabulary import TokenizerSettings

MOST_DRAWN = 256
"""A share of 1 in 256 is still seen, and the settings stay a small file."""

FEWEST_OF_A_LABEL = 4
"""Songs that are asked for by a label shall not all have the same instruments."""


class Instrumentation(NamedTuple):
    """A training window: its instruments ascending ("0 33 DRUMS"), its tokens and its labels."""

    names: str
    tokens: int
    labels: str = ""


def instrumentations_of(settings: TokenizerSettings) -> list[Instrumentation]:
    """Return what settings have of training windows: first those drawn, then rare labels'."""
    labels = settings.instrumentation_labels or [""] * len(settings.instrumentations)
    columns = (settings.instrumentations, settings.instrumentation_tokens, labels)
    return [Instrumentation(*row) for row in zip(*columns, strict=True)]


def with_instrumentations(
    settings: TokenizerSettings, rows: Sequence[Instrumentation]
) -> TokenizerSettings:
    """Return settings that have these windows; labels only where there are attributes."""
    return replace(
        settings,
        instrumentations=tuple(row.names for row in rows),
        instrumentation_tokens=tuple(row.tokens for row in rows),
        instrumentation_labels=tuple(row.labels for row in rows if settings.attributes),
    )


def with_rare_labels(
    drawn: Sequence[Instrumentation], others: Iterable[Instrumentation]
) -> list[Instrumentation]:
    """Return windows and more of others: of labels that fewer than `FEWEST_OF_A_LABEL` have.

    Fewer than `MOST_DRAWN` windows are all that there are, with all labels.
    """
    if len(drawn) < MOST_DRAWN:
        return [*drawn]
    known = Counter(label for row in drawn for label in row.labels.split())
    more = []
    for row in others:
        labels = row.labels.split()
        if any(known[label] < FEWEST_OF_A_LABEL for label in labels):
            more.append(row)
            known.update(labels)
    # Sorted, and after the windows that are drawn: these alone count where no label is asked for,
    # for they are as frequent as in the data.
    return [*drawn, *sorted(more)]


def candidates(settings: TokenizerSettings, labels: Iterable[str] = ()) -> list[Instrumentation]:
    """Return the windows that a song's instruments are drawn from: those with most of the labels.

    Windows that are there for a rare label count where too few others have as many labels.
    """
    rows, asked = instrumentations_of(settings), {*labels}
    shared = [len(asked & {*row.labels.split()}) for row in rows]
    most = max(shared, default=0)
    alike = [number for number, count in enumerate(shared) if count == most]
    drawn = [number for number in alike if number < MOST_DRAWN]
    return [rows[number] for number in (drawn if len(drawn) >= FEWEST_OF_A_LABEL else alike)]
