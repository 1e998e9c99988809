"""`README.md` of a data set: the card that goes with it wherever it goes."""

from collections.abc import Iterable, Mapping
from typing import Any

_PAGE = """\
# {title}, as mmmtrack tokens

{documents:,} documents of up to {bars} bars of 4/4 in Megatron's binary format: `--data-path` of
stock Megatron-LM takes the prefix `train`, and `tokenizer/` is a Hugging Face tokenizer folder.

- **Source**: {name}
- **Licence**: {licence}
- **Citation**: {citation}

## Contents

{splits}

A document is one window of a piece, PIECE_START to PIECE_END. Pieces were assigned to a side by a
hash of their music, which transposition does not change, so that no piece is on two sides. A model
that knows only how often each token occurs costs {entropy} nats a token.

{kept:,} of {total:,} inputs were kept; `files.jsonl` says what became of each.

{refused}

## Settings

{settings}

Vocabulary: {size} tokens, hash `{hash}`. `megatron-music data verify` checks every byte.
"""


def card(manifest: Mapping[str, Any]) -> str:
    """Return the data card of a manifest, in Markdown."""
    inputs, splits = manifest["inputs"], manifest["splits"]
    entropy = manifest["unigram_nats_per_token"]
    return _PAGE.format(
        **manifest["source"],
        documents=sum(side["documents"] for side in splits.values()),
        bars=manifest["settings"]["bars"],
        splits=_table(
            ("side", "pieces", "documents", "tokens", "tokens a document: mean", "99 %", "longest"),
            ((name, *_row(side)) for name, side in splits.items()),
        ),
        entropy=", ".join(f"{figure} ({name})" for name, figure in entropy.items()) or "-",
        kept=inputs["kept"],
        total=inputs["total"],
        refused=_table(("left out because of", "inputs"), inputs["refused"].items()),
        settings=_table(("setting", "value"), manifest["settings"].items()),
        size=manifest["vocabulary_size"],
        hash=manifest["vocabulary_hash"],
    )


def _row(side: Mapping[str, Any]) -> tuple[Any, ...]:
    lengths = side["document_tokens"]
    figures = (lengths.get(name, "-") for name in ("mean", "p99", "max"))
    return side["pieces"], side["documents"], side["tokens"], *figures


def _table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    titles = list(head)
    lines = [titles, ["---"] * len(titles), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
