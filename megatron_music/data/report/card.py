"""The data card: `README.md` of a data set."""

from collections.abc import Iterable, Mapping
from typing import Any

from megatron_music.data.counts import Contents, Counts, binned, shortened, text_bars
from megatron_music.formatting import counted, markdown_table
from megatron_music.score.general_midi import instrument_title
from megatron_music.tokenizer.vocabulary import Vocabulary

LENGTH_EDGES = (1, 65, 129, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 8193)
"""Bins of document lengths in tokens, which end at usual context lengths."""

BAR_EDGES = (1, 4, 8, 16, 32, 64, 96, 128, 192, 256, 512, 1024)
MOST_INSTRUMENTS = 16

_WHOLE_PIECE = (
    "A document is a whole piece, or a stretch of it without a rest that is left out; training\n"
    "with `megatron-music train` draws windows of it, in other keys and orders of tracks, of up to"
)

_PAGE = """\
# {title}, as mmmtrack tokens

{documents}{of_bars} in Megatron's binary format: `--data-path` of stock
Megatron-LM takes the prefix `train`, and `tokenizer/` is a Hugging Face tokenizer folder.

- **Source**: {name}
- **Licence**: {licence}
- **Citation**: {citation}

## Contents

{splits}

{document}, PIECE_START to PIECE_END. Pieces were assigned to a split by a
hash of their music, which transposition does not change, so that no piece is on two splits. A model
that knows only how often each token occurs costs {entropy} nats a token.

Kept: {kept:,} of {inputs}; `files.jsonl` has a line for each.

## Histograms

All splits together, training windows in every key that they were written in.
`megatron-music data stats` draws them, and says more.

{histograms}

## Settings

{settings}

Vocabulary: {size} tokens, hash `{hash}`. `megatron-music data verify` checks every byte.
"""


def card(
    manifest: Mapping[str, Any],
    vocabulary: Vocabulary,
    token_counts: Iterable[Counts],
    lengths: Iterable[Counts],
    piece_bars: Counts,
) -> str:
    """Return the data card of a manifest and of what was counted in each split, in Markdown."""
    contents = Contents.added_up(vocabulary, token_counts, lengths, piece_bars)
    inputs, splits = manifest["inputs"], manifest["splits"]
    entropy = manifest["unigram_nats_per_token"]
    bars = counted(manifest["settings"]["bars"], "bar")
    is_whole = manifest["settings"].get("pieces", False)
    return _PAGE.format(
        **manifest["source"],
        documents=counted(sum(split["documents"] for split in splits.values()), "document"),
        of_bars=" that are whole pieces" if is_whole else f" of up to {bars} of 4/4",
        document=f"{_WHOLE_PIECE} {bars}" if is_whole else "A document is one window of a piece",
        splits=markdown_table(
            (
                "split",
                "pieces",
                "documents",
                "tokens",
                "tokens a document: mean",
                "99 %",
                "longest",
            ),
            (
                map(
                    _cell,
                    (
                        name,
                        *(split[count] for count in ("pieces", "documents", "tokens")),
                        *(split["document_tokens"].get(one, "-") for one in ("mean", "p99", "max")),
                    ),
                )
                for name, split in splits.items()
            ),
        ),
        entropy=", ".join(f"{figure} ({name})" for name, figure in entropy.items()) or "-",
        kept=inputs["kept"],
        inputs=counted(inputs["total"], "input"),
        histograms="\n\n".join(
            f"**{title}**\n\n```\n{text_bars(rows)}\n```"
            for title, rows in histograms(contents, inputs["refused"]).items()
        ),
        settings=markdown_table(
            ("setting", "value"), (map(_cell, one) for one in manifest["settings"].items())
        ),
        size=manifest["vocabulary_size"],
        hash=manifest["vocabulary_hash"],
    )


_TITLES_OF_VALUES = {
    "METRE": "METRE tokens",
    "VELOCITY": "VELOCITY tokens, by the velocity in the middle of a level",
    "TEMPO": "TEMPO tokens, by quarter notes a minute",
    "SYLLABLE": "Ends of words, lines and verses",
}


def histograms(contents: Contents, refused: Mapping[str, int]) -> dict[str, list[tuple[str, int]]]:
    """Return by title the rows of each histogram that the contents allow."""
    fitting = ", ".join(
        f"{share:.1%} fit into {size}" for size, share in contents.fitting().items()
    )
    instruments = [(instrument_title(code), count) for code, count in contents.instruments.items()]
    made = {
        f"Documents by tokens: {fitting}": binned(contents.document_tokens, LENGTH_EDGES),
        "Pieces by bars": binned(contents.piece_bars, BAR_EDGES),
        "Tracks by instrument": shortened(instruments, MOST_INSTRUMENTS),
        "Tracks by density level": [
            (str(level), count) for level, count in enumerate(contents.densities.tolist())
        ],
        "Notes by octave of their pitch, 60 being middle C": binned(
            contents.pitches, range(0, 128, 12)
        ),
        **{
            title: [row for row in contents.value_counts.get(kind, {}).items() if row[1]]
            for kind, title in _TITLES_OF_VALUES.items()
        },
        "Inputs left out, by reason": sorted(refused.items(), key=lambda row: -row[1]),
    }
    return {title: rows for title, rows in made.items() if sum(count for _, count in rows)}


def _cell(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
