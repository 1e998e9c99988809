"""`manifest.json`: what a data set was built from, how, and what every file of it must hash to."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from megatron_music.data.join import Joined, Side
from megatron_music.data.settings import SPLITS, BuildSettings
from megatron_music.data.sources import Source
from megatron_music.errors import DataError
from megatron_music.tokenizer.vocabulary import VERSION, TokenizerSettings, Vocabulary

MANIFEST_FILE = "manifest.json"
FORMAT = 3
"""Raised whenever the same source and settings come to give other bytes."""


def build_key(source: Source, settings: BuildSettings) -> str:
    """Return the hash of what decides a data set's bytes, as far as a listing tells."""
    parts = {
        "format": FORMAT,
        "vocabulary": VERSION,
        "source": source.fingerprint,
        "settings": asdict(settings),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def describe(
    source: Source, settings: BuildSettings, tokenizer: TokenizerSettings, joined: Joined
) -> dict[str, Any]:
    """Return the manifest of what was written, without the hashes of the files."""
    return {
        "format": FORMAT,
        "key": build_key(source, settings),
        "source": {
            "name": source.name,
            "title": source.title,
            "licence": source.licence,
            "citation": source.citation,
            "fingerprint": source.fingerprint,
            "contents": joined.contents,
        },
        "settings": asdict(settings),
        "tokenizer": asdict(tokenizer),
        "vocabulary_hash": Vocabulary(tokenizer).hash,
        "vocabulary_size": len(Vocabulary(tokenizer)),
        "inputs": {
            "total": joined.kept + joined.refused.total(),
            "kept": joined.kept,
            "refused": dict(sorted(joined.refused.items())),
        },
        "splits": {name: _side(side) for name, side in joined.sides.items()},
        "unigram_nats_per_token": unigram_entropy(joined),
    }


def _side(side: Side) -> dict[str, Any]:
    lengths = side.all_lengths()
    return {
        "pieces": side.pieces,
        "documents": len(lengths),
        "tokens": int(lengths.sum(dtype=np.int64)),
        "document_tokens": _distribution(lengths),
    }


def _distribution(lengths: npt.NDArray[np.int32]) -> dict[str, float]:
    if not len(lengths):
        return {}
    p50, p95, p99 = np.percentile(lengths, (50, 95, 99), method="higher").tolist()
    mean = round(float(lengths.mean()), 1)
    return {"mean": mean, "p50": p50, "p95": p95, "p99": p99, "max": int(lengths.max())}


def unigram_entropy(joined: Joined) -> dict[str, float]:
    """Return the nats a token that a model costs which knows only how often each token occurs.

    It counts the training tokens, with one added to each; the loss of any model that has learned
    more lies below.
    """
    counts = joined.sides[SPLITS[0]].token_counts + 1
    surprise = -np.log(counts / counts.sum())
    return {
        name: round(float(surprise @ side.token_counts / side.token_counts.sum()), 4)
        for name, side in joined.sides.items()
        if side.token_counts.sum()
    }


def file_records(folder: Path) -> dict[str, dict[str, Any]]:
    """Return size and sha256 of every file in a folder and below, but for the manifest."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in paths]
    return {
        name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for name, path in zip(names, paths, strict=True)
        if name != MANIFEST_FILE
    }


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's contents."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a data set; raises DataError if there is none or it is damaged."""
    path = folder / MANIFEST_FILE
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(
            f"no {MANIFEST_FILE} in {folder}; make a data set with: "
            f"megatron-music data build SOURCE -o {folder}"
        ) from None
    except (OSError, ValueError) as fault:
        raise DataError(f"{path} is damaged ({fault}); build the data set again") from None
    needed = ("key", "settings", "files", "splits", "vocabulary_hash")
    if not isinstance(values, Mapping) or any(name not in values for name in needed):
        raise DataError(f"{path} is not a data set's manifest; build the data set again")
    return dict(values)
