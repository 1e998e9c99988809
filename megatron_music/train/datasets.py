"""Data set folders held against their manifests before a run. Loads neither torch nor megatron."""

import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from megatron_music.config import Recipe
from megatron_music.errors import DataError
from megatron_music.files import damaged
from megatron_music.tokenizer.places import PLACES_SUFFIX
from megatron_music.tokenizer.vocabulary import Vocabulary
from megatron_music.train.blend import (
    Blend,
    common_vocabulary,
    token_count,
    with_shared_instruments,
)


@dataclass(frozen=True)
class Checked:
    """Data that a run can be trained on: `blend` has weights, `hash` tells it from other data."""

    blend: Blend
    vocabulary: Vocabulary
    hash: str


def check_data(blend: Blend, recipe: Recipe) -> Checked:
    """Check every folder of a blend, and that their tokens mean the same.

    Raises DataError for data that are missing, damaged, too few or of different vocabularies.
    """
    vocabulary = common_vocabulary(blend)
    hashes = []
    for folder in blend.folders:
        hashes.append(_check_manifest(folder, vocabulary))
        _check_tokens(folder / "train", vocabulary, "use a larger data set")
        if recipe.log.eval_interval:
            _check_tokens(folder / "valid", vocabulary, "set log.eval_interval=0")
    weighed = blend.sized(vocabulary)
    vocabulary = with_shared_instruments(weighed, vocabulary)
    return Checked(weighed, vocabulary, _hash(hashes, weighed.shares))


def _hash(hashes: list[str], shares: list[float]) -> str:
    """Return what tells data apart wherever they lie; "" where a manifest is missing."""
    if len(hashes) == 1 or "" in hashes:
        return hashes[0] if len(hashes) == 1 else ""
    parts = [[of, f"{share:.9g}"] for of, share in zip(hashes, shares, strict=True)]
    return sha256(json.dumps(parts).encode()).hexdigest()


def _check_manifest(data: Path, vocabulary: Vocabulary) -> str:
    """Hold the data set against its manifest; return what tells it apart, "" without a manifest."""
    path = data / "manifest.json"
    if not path.is_file():
        return ""
    try:
        raw = path.read_bytes()
        manifest = json.loads(raw)
        written = manifest.get("vocabulary_hash")
        files = manifest.get("files", {}).items()
        needed = (".bin", ".idx", PLACES_SUFFIX)
        sizes = {name: of["bytes"] for name, of in files if name.endswith(needed)}
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as fault:
        raise DataError(f"{path} is damaged ({fault}); build the data set again") from None
    if written not in (None, vocabulary.hash):
        raise DataError(
            f"{data} was built with another vocabulary than its tokenizer/ holds; "
            "build the data set again"
        )
    for name in damaged(data, sizes):
        raise DataError(
            f"{data / name} is missing or not the {sizes[name]} bytes that it was built with; "
            "build the data set again"
        )
    return sha256(raw).hexdigest()


def _check_tokens(prefix: Path, vocabulary: Vocabulary, advice: str) -> None:
    binary = prefix.with_name(prefix.name + ".bin")
    index = prefix.with_name(prefix.name + ".idx")
    for path in (binary, index):
        if not path.is_file():
            raise DataError(f"no {path}; build the data set with 'megatron-music data build'")
    if not token_count(binary, vocabulary):
        raise DataError(f"{binary} holds no document; {advice}")
