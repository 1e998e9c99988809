"""`manifest.json`: the source and settings of a data set, and the hash of each of its files."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from megatron_music.data.counts import CONTEXT_TOKENS, Counts, longer_than
from megatron_music.data.settings import SPLITS
from megatron_music.errors import DataError
from megatron_music.files import build_hint, sha256_of
from megatron_music.tokenizer.load import AnyVocabulary, settings_file

MANIFEST_FILE = "manifest.json"
TOKENIZER_FOLDER = "tokenizer"
CARD_FILE = "README.md"
FORMAT = 6
"""Raised with each change after which the same source and settings give other bytes."""

_SEAL = "manifest_sha256"
_LAST_UNSEALED = "files"
"""The last key of a manifest of a version without seals."""

_NEEDED = {
    *("key", "settings", "files", "splits", "inputs", "source"),
    *("vocabulary_hash", "unigram_nats_per_token"),
}


def key_of(parts: Mapping[str, Any]) -> str:
    """Return the hash of all that decides a data set's bytes."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def source_record(source: Any) -> dict[str, str]:
    """Return the record of a source of music or of words."""
    names = ("name", "title", "licence", "citation", "fingerprint")
    return {name: getattr(source, name) for name in names}


def describe(
    source: Mapping[str, str],
    settings: Mapping[str, Any],
    vocabulary: AnyVocabulary,
    kept: int,
    refused: Counter[str],
    splits: Mapping[str, Mapping[str, Any]],
    token_counts: Mapping[str, Counts],
    labels: Mapping[str, object] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return the part of a manifest that data sets of music and of words have in common."""
    # The nats a token of a model that knows only how often each token occurs in training, one added
    # to each count: a model that has learned more has a lower loss.
    train = token_counts[SPLITS[0]] + 1
    surprise = -np.log(train / train.sum())
    entropy = {
        name: round(float(surprise @ counts / counts.sum()), 4)
        for name, counts in token_counts.items()
        if counts.sum()
    }
    return {
        "source": dict(source),
        "settings": dict(settings),
        "tokenizer": asdict(vocabulary.settings),
        "vocabulary_hash": vocabulary.hash,
        "vocabulary_size": len(vocabulary),
        "inputs": {
            "total": kept + refused.total(),
            "kept": kept,
            "refused": dict(sorted(refused.items())),
        },
        **({"labels": dict(labels)} if labels else {}),
        "splits": dict(splits),
        "unigram_nats_per_token": entropy,
    }


def write_manifest(
    folder: Path,
    manifest: Mapping[str, Any],
    card: str,
    known: Mapping[str, str] = MappingProxyType({}),
) -> Path:
    """Write the card and the manifest of a data set, after its other files; return its path.

    `known` has the sha256 of some of the files.
    """
    (folder / CARD_FILE).write_text(card, encoding="utf-8")
    whole = sealed({**manifest, "files": file_records(folder, known)})
    path = folder / MANIFEST_FILE
    path.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    return path


def split_record(pieces: int, lengths: Counts, *, whole_pieces: bool = False) -> dict[str, Any]:
    """Return the record of one split; `lengths[n]` documents have n tokens."""
    distribution: dict[str, float] = {}
    tokens = int(np.arange(len(lengths)) @ lengths)
    if total := int(lengths.sum()):
        # numpy's method "higher", without an array of millions of lengths.
        ranks = np.ceil(np.array((0.50, 0.95, 0.99)) * (total - 1)) + 1
        p50, p95, p99 = np.searchsorted(np.cumsum(lengths), ranks).tolist()
        mean = round(float(tokens) / total, 1)
        distribution = {"mean": mean, "p50": p50, "p95": p95, "p99": p99, "max": len(lengths) - 1}
    figures = {
        "pieces": pieces,
        "documents": total,
        "tokens": tokens,
        "document_tokens": distribution,
    }
    if not whole_pieces:  # windows of pieces are drawn so that they fit
        longer = {str(size): longer_than(lengths, size) for size in CONTEXT_TOKENS}
        figures["longer_than"] = longer
    return figures


def file_records(
    folder: Path, known: Mapping[str, str] = MappingProxyType({})
) -> dict[str, dict[str, Any]]:
    """Return size and sha256 of every file in a folder and below, but for the manifest.

    `known` has the hashes of some.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in paths]
    return {
        name: {"bytes": path.stat().st_size, "sha256": known.get(name) or sha256_of(path)}
        for name, path in zip(names, paths, strict=True)
        if name != MANIFEST_FILE
    }


def sealed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest with the hash of its contents."""
    contents = {name: value for name, value in manifest.items() if name != _SEAL}
    text = json.dumps(contents, sort_keys=True)
    return {**contents, _SEAL: hashlib.sha256(text.encode()).hexdigest()}


def is_intact(manifest: Mapping[str, Any]) -> bool:
    """Tell whether a manifest has the contents that its seal was made of; old ones have none."""
    if _SEAL not in manifest:
        return list(manifest)[-1] == _LAST_UNSEALED  # else it is a seal of another name
    return bool(sealed(manifest)[_SEAL] == manifest[_SEAL])


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a data set; raises DataError if there is none or it is damaged."""
    path = folder / MANIFEST_FILE
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(
            f"no {MANIFEST_FILE}, so no data set in {folder}; {build_hint(folder)}"
        ) from None
    except (OSError, ValueError) as fault:
        raise DataError(f"{path} is damaged ({fault}); build the data set again") from None
    try:
        # All keys that are read from it anywhere, so that a missing one is one clear line.
        is_whole = (
            set(values) >= _NEEDED
            and all({"bytes", "sha256"} <= set(record) for record in values["files"].values())
            and all({"pieces", "documents", "tokens"} <= set(values["splits"][s]) for s in SPLITS)
            and {"total", "kept", "refused"} <= set(values["inputs"])
        )
    except (TypeError, KeyError, AttributeError):
        is_whole = False
    if not is_whole:
        raise DataError(
            f"{path} is not the manifest of a data set, or is damaged; give a data set's folder"
        )
    return dict(values)


def is_data_set(folder: Path) -> bool:
    """Tell a data set, damaged or not, from a folder of another program with a manifest."""
    try:
        text = (folder / MANIFEST_FILE).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    tokenizer = folder / "tokenizer"
    return "vocabulary_hash" in text or (tokenizer / settings_file(tokenizer)).is_file()
