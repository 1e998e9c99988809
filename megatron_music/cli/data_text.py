"""`data build --text`: songs' words as a data set."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from megatron_music.cli import data_inspect, show
from megatron_music.errors import UsageError
from megatron_music.formatting import counted, escape_controls

if TYPE_CHECKING:
    from megatron_music.cli.data_options import BuildOptions

_OPTIONS = {"metres": "metre"}


def name_of(source: str) -> str:
    """Return a collection's name, or that of a folder, an archive or a table."""
    name = Path(source).resolve().name
    return re.sub(r"\.((tar|tgz|zip)(\.\w+)?|csv|tsv|jsonl|ndjson)$", "", name)


def is_words(
    source: str, asked: bool, music: Mapping[str, object], words: Mapping[str, object]
) -> bool:
    """Tell whether words are to be built; raises UsageError for options of the other kind."""
    from megatron_music.data.sources.catalog import collection_named
    from megatron_music.text.songs import LINES, TABLES

    collection = collection_named(source)
    is_text = asked or (collection is not None and collection.is_text)
    foreign = music if is_text else words
    wrong = [
        f"--{_OPTIONS.get(name, name).replace('_', '-')}"
        for name, of in foreign.items()
        if of is not None
    ]
    # Both kinds of data sets have splits.
    wrong = [name for name in wrong if not (is_text and name == "--split")]
    if wrong and is_text:
        raise UsageError(f"{', '.join(wrong)}: for music, and these are words; leave that out")
    if wrong:
        raise UsageError(f"{', '.join(wrong)}: for words alone; add --text, or leave that out")
    if not is_text and Path(source).suffix.lower() in (*TABLES, *LINES):
        raise UsageError(f"{source} holds words and no music; add --text")
    return is_text


def build(options: "BuildOptions", words: Mapping[str, Any], split: tuple[int, ...] | None) -> None:
    """Build and print what was made."""
    from megatron_music.data.sources.catalog import collection_named
    from megatron_music.text.build_words import build_text
    from megatron_music.text.songs import Columns, hymns, open_songs
    from megatron_music.text.vocabularies import hash_of
    from megatron_music.text.words_settings import TextBuildSettings

    chosen = {
        "vocabulary": words["vocabulary"],
        "like": options.like,
        # By contents, not by path: a data set is known by what decides its tokens.
        "like_hash": None if options.like is None else hash_of(options.like),
        "longest_tokens": words["longest"],
        "split": split,
    }
    settings = TextBuildSettings(**{name: of for name, of in chosen.items() if of is not None})
    folder = options.output or Path("data") / name_of(options.source)
    collection = collection_named(options.source)
    columns = Columns(*(words[f"{name}_column"] for name in Columns._fields))
    if collection is None:
        songs = open_songs(Path(options.source), columns)
    elif not collection.is_text:
        raise UsageError(f"{collection.name} holds music; leave --text out")
    elif any(columns):
        raise UsageError(f"{collection.name} has no columns; leave out --text-column and others")
    else:
        songs = hymns(collection)
    result = build_text(songs, folder, settings, options.force, show.progress)
    if result.up_to_date:
        show.log(f"{folder} is up to date: nothing to do")
    print(
        json.dumps(result.manifest, indent=2)
        if options.as_json
        else escape_controls(_summary(result.manifest))
    )


def _summary(manifest: Mapping[str, Any]) -> str:
    inputs, tokenizer = manifest["inputs"], manifest["tokenizer"]
    refused = ", ".join(f"{reason} {count}" for reason, count in inputs["refused"].items())
    size, splits = manifest["vocabulary_size"], manifest["splits"]
    kind = "characters and marks" if tokenizer["level"] == "characters" else "byte pairs and marks"
    fields = [
        name
        for name, has in (
            ("artists", tokenizer["has_artists"]),
            ("titles", tokenizer["has_titles"]),
        )
        if has
    ]
    entropies = manifest["unigram_nats_per_token"].items()
    return "\n".join(
        [
            f"{manifest['source']['name']}: {inputs['kept']:,} of "
            f"{counted(inputs['total'], 'song')} kept"
            + (f"; left out: {refused} (data list-left-out names them)" if refused else ""),
            *(data_inspect.row(name, split) for name, split in splits.items()),
            f"vocabulary: {size:,} {kind}; {' and '.join(fields) or 'no artists, no titles'}",
            f"longest document: {splits['train']['document_tokens']['max']:,} tokens of "
            f"{tokenizer['longest_tokens']:,} at most",
            "unigram entropy, nats a token: "
            + ", ".join(f"{split} {nats:.2f}" for split, nats in entropies),
        ]
    )
