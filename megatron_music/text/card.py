"""`README.md` of a data set of words."""

from collections.abc import Mapping
from typing import Any

_PAGE = """\
# {title}, as tokens

Songs in Megatron's binary format: `--data-path` of stock Megatron-LM takes the prefix `train`,
and `tokenizer/` is a Hugging Face tokenizer folder.

- **Source**: {name}
- **Licence**: {licence}
- **Citation**: {citation}

## Contents

| split | songs | documents | tokens | characters |
|---|---|---|---|---|
{rows}

A document is a song, or a part of one that has more than {longest:,} tokens: it is cut at the end
of a line. Songs were assigned to a split by a hash of artist and title, or of their words, so that
no song is on two splits. Of songs whose words are nearly the same the first is kept.

Kept: {kept:,} of {total:,} songs; left out: {refused}. `files.jsonl` says what became of each.

Vocabulary: {size:,} {tokens}, hash `{hash}`. `megatron-music data verify` checks every byte.
"""


def text_card(manifest: Mapping[str, Any]) -> str:
    """Return the data card of a manifest, in Markdown."""
    inputs, tokenizer = manifest["inputs"], manifest["tokenizer"]
    refused = ", ".join(f"{count:,} {reason}" for reason, count in inputs["refused"].items())
    keys = ("pieces", "documents", "tokens", "characters")
    rows = [
        f"| {name} | " + " | ".join(f"{split[key]:,}" for key in keys) + " |"
        for name, split in manifest["splits"].items()
    ]
    names = ("title", "name", "licence", "citation")
    return _PAGE.format(
        **{name: manifest["source"][name] for name in names},
        rows="\n".join(rows),
        longest=tokenizer["longest_tokens"],
        kept=inputs["kept"],
        total=inputs["total"],
        refused=refused or "none",
        size=manifest["vocabulary_size"],
        tokens="characters and marks" if tokenizer["level"] == "characters" else "byte pairs",
        hash=manifest["vocabulary_hash"],
    )
