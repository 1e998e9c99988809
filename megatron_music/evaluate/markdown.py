"""An evaluation as Markdown: tables, sentences, and how to read them."""

from collections.abc import Sequence

import numpy as np

from megatron_music.evaluate.bootstrap import Estimate
from megatron_music.evaluate.comparison import SETS, FigureRow, HistogramRow
from megatron_music.evaluate.distance import Distance
from megatron_music.evaluate.embedding import by_fifths, by_interval
from megatron_music.evaluate.evaluation import Evaluation, whole_share
from megatron_music.evaluate.heldout import HeldOut
from megatron_music.evaluate.identity import software
from megatron_music.evaluate.labelled import LabelRow

SHOWN_SONGS = 5
NO_VOICES = "Not for this music: its tracks are not voices (soprano, alto, tenor, bass)."


def as_markdown(found: Evaluation) -> str:
    """Return the report as Markdown; its pictures lie beside it."""
    parts = [
        f"# Evaluation of {found.model}",
        _made(found),
        "## Held-out loss",
        _loss_table(found.losses, found.unigram),
        "![Nats and illegal probability by kind of token](loss.png)",
        "## The grammar without its mask",
        _grammar(found),
        "## Statistics",
        _figures(found.figures),
        "![Means and their intervals](figures.png)",
        "## Voices",
        _voices(found),
        _histograms(found.histograms),
        "![Histograms of held-out and composed music](histograms.png)",
        "## Between windows",
        _between_windows(found),
        "## Copying",
        _copying(found),
        "## The critic",
        _critic(found),
        "![Scores of the critic and shared runs of bars](scores.png)",
        *_labels(found.labels),
        "## The map of embeddings",
        _embedding(found),
        "## How to read it",
        "\n".join(f"- {note}" for note in NOTES),
    ]
    return "\n\n".join(parts) + "\n"


def _made(found: Evaluation) -> str:
    request = found.request
    training, held_out, composed = found.windows
    return (
        f"Data set `{found.data}`. {composed} songs of {found.vocabulary.settings.bars} bars, "
        f"seeds {request.seed} to {request.seed + request.count - 1}, temperature "
        f"{request.temperature:g}, top-p {request.top_p:g}, top-k {request.top_k}, against "
        f"{held_out} whole held-out windows (validation and test) and {training} training windows. "
        f"Made with {software()}. Square brackets are 95 % intervals."
    )


def _loss_table(losses: dict[str, HeldOut], unigram: dict[str, float]) -> str:
    head = [
        "side",
        "windows (pieces)",
        "tokens",
        "notes",
        "nats a token",
        "with the mask",
        "nats a note",
        "nats a cell",
        "nats a cell, with the mask",
        "token frequencies alone",
    ]
    rows = [
        [
            name,
            f"{side.windows} ({side.pieces})",
            f"{side.tokens:,}"
            + (f" ({side.left_out_tokens:,} left out)" * bool(side.left_out_tokens)),
            f"{side.notes:,}",
            _span(side.per_token),
            _span(side.per_token_masked),
            _span(side.per_note, 2),
            *("-" if of is None else _span(of) for of in (side.per_cell, side.per_cell_masked)),
            f"{unigram[name]:.2f}" if name in unigram else "-",
        ]
        for name, side in losses.items()
    ]
    return table(head, rows)


def _grammar(found: Evaluation) -> str:
    lines = [
        f"- {name}: the likeliest token is illegal at {_percent(side.illegal_tops)} of the steps; "
        f"illegal tokens together get {_percent(side.illegal_mass)} of the probability."
        for name, side in found.losses.items()
    ]
    outcomes = [sample.outcome for sample in found.free]
    lines.append(
        f"- Of {len(outcomes)} songs drawn at temperature 1 from all tokens, without mask or "
        f"truncation, {outcomes.count('whole')} are legal to the end "
        f"({_percent(whole_share(found.free))}), {outcomes.count('broken')} break the grammar, "
        f"{outcomes.count('unfinished')} stay legal until the context ends; legal tokens before "
        f"the first mistake or the end: median "
        f"{np.median([s.legal_tokens for s in found.free]):.0f}."
    )
    broken = [sample for sample in found.free if sample.reason]
    if broken:
        lines.append(
            "- First mistakes, for instance: " + "; ".join(s.reason for s in broken[:3]) + "."
        )
    return "\n".join(lines)


def _figures(rows: Sequence[FigureRow], digits: int = 2) -> str:
    head = ["figure", *SETS, "overlap", "divergence", "overlap, control", "divergence, control"]
    return table(
        head,
        [
            [
                row.name,
                *(_span(one, digits) for one in row.means),
                f"{row.composed.overlap:.2f}",
                _nats(row.composed),
                f"{row.control.overlap:.2f}",
                _nats(row.control),
            ]
            for row in rows
        ],
    )


def _voices(found: Evaluation) -> str:
    if not found.voices:
        return NO_VOICES
    parts = [_figures(found.voices, 3)]
    if found.real_endings is not None:
        parts.append(
            "Of held-out windows that end with their piece, "
            f"{_percent(found.real_endings)} have the tonic triad as their last chord."
        )
    return "\n\n".join(parts)


def _histograms(rows: Sequence[HistogramRow]) -> str:
    head = [
        "histogram",
        "means in common",
        "overlap",
        "divergence",
        "means in common, control",
        "overlap, control",
        "divergence, control",
    ]
    return table(
        head,
        [
            [
                row.name,
                f"{row.overlap:.3f}",
                f"{row.composed.overlap:.2f}",
                _nats(row.composed),
                f"{row.control_overlap:.3f}",
                f"{row.control.overlap:.2f}",
                _nats(row.control),
            ]
            for row in rows
        ],
    )


def _between_windows(found: Evaluation) -> str:
    of = found.seams
    return (
        f"In {of.songs} songs of two windows, a note sounds across the barline where the first "
        f"window ends in {_percent(of.at)} of the pitched tracks, across the other barlines in "
        f"{_percent(of.elsewhere)}; within held-out windows in {_percent(of.real)}. Barline by "
        f"barline: {', '.join(f'{share:.2f}' for share in of.by_barline)}."
    )


def _copying(found: Evaluation) -> str:
    runs = found.copying
    longest = sorted({*runs.composed, *runs.held_out})
    rows = [
        [name, *(str(of.get(bars, 0)) for bars in longest), f"{_mean(of):.2f}"]
        for name, of in (("composed songs", runs.composed), ("held-out windows", runs.held_out))
    ]
    return table(["longest run shared with training music, bars", *map(str, longest), "mean"], rows)


def _mean(runs: dict[int, int]) -> float:
    return sum(bars * count for bars, count in runs.items()) / max(sum(runs.values()), 1)


def _critic(found: Evaluation) -> str:
    verdict = found.verdict
    ranked = verdict.ranking

    def told(seeds: Sequence[int]) -> str:
        return ", ".join(f"{seed} ({verdict.song_scores[seed]:.2f})" for seed in seeds)

    return (
        f"It tells real from composed with an area under the curve of {_span(verdict.area, 2)} on "
        f"pieces it has not seen (0.5 cannot tell, 1 always can); the control, held-out from "
        f"training music, is {_span(verdict.control, 2)}. Most real by its score: seeds "
        f"{told(ranked[:SHOWN_SONGS])}; least: {told(ranked[-SHOWN_SONGS:])}. "
        f"`megatron-music rank critic.json SONG.mid ...` ranks others."
    )


def _labels(rows: Sequence[LabelRow]) -> list[str]:
    """Return the section on songs asked for by label, if there are such."""
    if not rows:
        return []
    head = [
        "label",
        "windows: training",
        "held-out",
        "found in held-out",
        "songs",
        "found in songs",
    ]
    told = table(
        head,
        [
            [
                f"{row.family}={row.label}",
                f"{row.training}",
                f"{row.held_out}",
                _percent(row.real),
                f"{row.songs}",
                _percent(row.composed),
            ]
            for row in rows
        ],
    )
    return [
        "## Asked for by label",
        "A logistic regression on the measures of a window has learned from training music which "
        "label it has. How often it finds the right one of a family, in held-out music and in "
        "songs that were asked for by that label:",
        told,
    ]


def _embedding(found: Evaluation) -> str:
    parts = []
    if len(found.notes.codes) > 1:
        intervals, fifths = by_interval(found.notes), by_fifths(found.notes)
        parts.append(
            f"NOTE_ON of {len(found.notes.codes)} pitches: two notes an octave apart have a mean "
            f"cosine of {_cosine(intervals[12])}, a fifth {_cosine(intervals[7])}, a tritone "
            f"{_cosine(intervals[6])}, a semitone {_cosine(intervals[1])}. By steps on the circle "
            f"of fifths (0 to 6): {', '.join(map(_cosine, fifths))}."
        )
        parts.append("![How alike the notes are](notes.png)")
    if len(found.instruments.codes) > 1:
        parts.append("![How alike the instruments are](instruments.png)")
    if len(found.attributes.codes) > 1:
        parts.append("![How alike composers, genres and other labels are](attributes.png)")
    return "\n\n".join(parts) or "Training has seen too few different notes."


def _cosine(value: float) -> str:
    return "unknown" if np.isnan(value) else f"{value:.2f}"


NOTES = (
    "Nats a token: each window is read by itself from its PIECE_START, every token after it "
    "counts. Training's own validation loss packs windows into sequences and cuts them, so it is "
    "another figure. Nats a note: all tokens' nats over the number of NOTE_ON.",
    "Nats a cell: all tokens' nats over the number of cells, one voice in one sixteenth, for music "
    "whose tracks are voices; windows that do not fit into the context are left out.",
    "With the mask: the same with illegal tokens forbidden, as in composing.",
    "Intervals resample whole pieces, since windows of one piece are alike.",
    "Overlap and divergence (nats) compare, as Yang and Lerch (2020) do, the distances from "
    "composed to held-out music with the distances within held-out music: 1 and 0 where the sets "
    "are the same. The control holds training music, which is real, against held-out music: no "
    "model is closer than that but by chance or by copying.",
    "Voices: parallels are two voices that move in one direction from a fifth (an octave or "
    "unison) to another, for all pairs of voices. Dissonant pairs are seconds, tritones and "
    "sevenths among the pairs that sound at once. Complete triads are the chords of three voices "
    "or more whose notes are the three of a major, minor, diminished or augmented triad. Voices "
    "are crossed in a sixteenth in which one sings below the next lower one. Held cells are as the "
    "cell before. The last chord is the tonic triad if its bass is the tonic of the likeliest key "
    "and its other notes are the third and at most the fifth; real windows end anywhere in a "
    "piece. Parallels are rare: compare 256 songs or more.",
    "Pitches are counted from the likeliest key's tonic: songs are composed in all keys.",
    "A run of bars is shared when the same notes begin at the same steps, in any one key. Real "
    "pieces share bars, too: compare with the held-out row. Windows limit what can be found to "
    "their own length.",
    "The critic sees the statistics above, nothing else: what it cannot tell, a listener may.",
)
"""What the figures are, for the foot of every report."""


def _span(estimate: Estimate, digits: int = 3) -> str:
    value, low, high = (f"{n:.{digits}f}" for n in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"


def _nats(apart: Distance) -> str:
    return f"{apart.divergence:.3f}" if apart.divergence < 10 else "over 10"


def _percent(estimate: Estimate) -> str:
    value, low, high = (f"{100 * n:.2f}" for n in (estimate.value, estimate.low, estimate.high))
    return f"{value} % [{low}, {high}]"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
