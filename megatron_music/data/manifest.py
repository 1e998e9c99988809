"""`manifest.json`: what a data set was built from, how, and what every file of it must hash to."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from megatron_music.data.contents import CONTEXT_TOKENS, longer_than
from megatron_music.data.join import Joined
from megatron_music.data.settings import SPLITS, BuildSettings
from megatron_music.data.sources import Source
from megatron_music.data.survey import Survey
from megatron_music.errors import DataError
from megatron_music.files import build_hint, sha256_of
from megatron_music.tokenizer.load import settings_file
from megatron_music.tokenizer.vocabulary import VERSION, vocabulary_of

MANIFEST_FILE = "manifest.json"
FORMAT = 6
"""Raised whenever the same source and settings come to give other bytes."""

_SEAL = "manifest_sha256"
_LAST_UNSEALED = "files"
"""What a manifest from before seals ends with."""

_NEEDED = {
    *("key", "settings", "files", "splits", "inputs", "source"),
    *("vocabulary_hash", "unigram_nats_per_token"),
}


def build_key(source: Source, settings: BuildSettings) -> str:
    """Return the hash of what decides a data set's bytes, as far as a listing tells."""
    return key_of(
        {
            "format": FORMAT,
            "vocabulary": VERSION,
            "source": source.fingerprint,
            "settings": settings.record(),
        }
    )


def key_of(parts: Mapping[str, Any]) -> str:
    """Return the hash of what decides a data set's bytes."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def describe(
    source: Source, settings: BuildSettings, found: Survey, joined: Joined
) -> dict[str, Any]:
    """Return the manifest of what was written, without the hashes of the files."""
    tokenizer = found.tokenizer
    return {
        "format": FORMAT,
        "key": build_key(source, settings),
        "source": {
            "name": source.name,
            "title": source.title,
            "licence": source.licence,
            "citation": source.citation,
            "fingerprint": source.fingerprint,
            "contents": found.contents,
        },
        "settings": settings.record(),
        "tokenizer": asdict(tokenizer),
        "vocabulary_hash": vocabulary_of(tokenizer).hash,
        "vocabulary_size": len(vocabulary_of(tokenizer)),
        "inputs": {
            "total": found.kept + found.refused.total(),
            "kept": found.kept,
            "refused": dict(sorted(found.refused.items())),
        },
        **({"labels": found.labels} if found.labels else {}),
        "splits": {
            name: side_record(
                side.pieces,
                side.documents,
                side.tokens,
                side.lengths,
                whole_pieces=settings.pieces,
            )
            for name, side in found.sides.items()
        },
        "unigram_nats_per_token": unigram_entropy(joined),
        "grid": None if found.grid is None else found.grid.as_json(),
    }


def side_record(
    pieces: int,
    documents: int,
    tokens: int,
    lengths: npt.NDArray[np.int64],
    *,
    whole_pieces: bool = False,
) -> dict[str, Any]:
    """Return what a manifest tells of one side; `lengths[n]` documents have n tokens."""
    figures = {
        "pieces": pieces,
        "documents": documents,
        "tokens": tokens,
        "document_tokens": _distribution(lengths),
    }
    if not whole_pieces:  # windows of pieces are drawn so that they fit
        longer = {str(size): longer_than(lengths, size) for size in CONTEXT_TOKENS}
        figures["longer_than"] = longer
    return figures


def _distribution(counts: npt.NDArray[np.int64]) -> dict[str, float]:
    """Describe lengths of which there are so many of each."""
    total = int(counts.sum())
    if not total:
        return {}
    ranks = np.ceil(np.array((0.50, 0.95, 0.99)) * (total - 1)) + 1
    p50, p95, p99 = np.searchsorted(np.cumsum(counts), ranks).tolist()
    mean = round(float(np.arange(len(counts)) @ counts) / total, 1)
    return {"mean": mean, "p50": p50, "p95": p95, "p99": p99, "max": len(counts) - 1}


def unigram_entropy(joined: Joined) -> dict[str, float]:
    """Return the nats a token that a model costs which knows only how often each token occurs.

    It counts the training tokens, with one added to each; the loss of any model that has learned
    more lies below.
    """
    train = joined.token_counts[SPLITS[0]] + 1
    surprise = -np.log(train / train.sum())
    return {
        name: round(float(surprise @ counts / counts.sum()), 4)
        for name, counts in joined.token_counts.items()
        if counts.sum()
    }


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
    """Return a manifest with the hash of all else that it says."""
    said = {name: value for name, value in manifest.items() if name != _SEAL}
    text = json.dumps(said, sort_keys=True)
    return {**said, _SEAL: hashlib.sha256(text.encode()).hexdigest()}


def is_intact(manifest: Mapping[str, Any]) -> bool:
    """Tell whether a manifest says what it was sealed with; those from before seals do."""
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
    if not _is_whole(values):
        raise DataError(
            f"{path} is not the manifest of a data set, or is damaged; give a data set's folder"
        )
    return dict(values)


def is_data_set(folder: Path) -> bool:
    """Tell a data set, damaged or not, from a folder of another program with a manifest."""
    try:
        told = (folder / MANIFEST_FILE).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    tokenizer = folder / "tokenizer"
    return "vocabulary_hash" in told or (tokenizer / settings_file(tokenizer)).is_file()


def _is_whole(values: Any) -> bool:
    """Tell whether all is there that is read from a manifest."""
    try:
        return (
            set(values) >= _NEEDED
            and all({"bytes", "sha256"} <= set(record) for record in values["files"].values())
            and all({"pieces", "documents", "tokens"} <= set(values["splits"][s]) for s in SPLITS)
            and {"total", "kept", "refused"} <= set(values["inputs"])
        )
    except (TypeError, KeyError, AttributeError):
        return False
