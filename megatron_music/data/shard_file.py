"""The file of a shard: the pieces of one worker's share, encoded, as columns."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from megatron_music.data.columns import read_columns, write_columns
from megatron_music.data.documents import Rates
from megatron_music.data.encoded import Encoded
from megatron_music.data.minhash import Signatures
from megatron_music.data.outcomes import KEPT, REFUSED, line
from megatron_music.data.settings import SPLITS
from megatron_music.tokenizer.vocabulary import TokenArray

NO_SIDE = -1
FINGERPRINT_BYTES = 16
_NO_FINGERPRINT = "00" * FINGERPRINT_BYTES
_ALL_BUT_TOKENS = (
    *("lines", "sides", "fingerprints", "ensemble", "about", "digests", "bars"),
    *("lengths", "owner", "first_bars", "tracks", "rates", "window_rates", "window_counts"),
    "sketches",
)


@dataclass(frozen=True)
class Shard:
    """The pieces of a shard, all but their tokens.

    Of each piece: its line of `files.jsonl`, in `sides` the index of its split or NO_SIDE (int8),
    FINGERPRINT_BYTES of `fingerprints`, in `ensemble` the index of its instruments in `ensembles`
    (int32), in `digests` what it was read from (see `items.py`), and its `bars` (int32). Of each
    document: `lengths` in tokens and `owner`, the piece it is of, in `first_bars` the bars of that
    piece before it, and how many `tracks` it has (int32). Of each track of each document its
    `rates`; where documents are whole pieces, of each track of each of their windows
    `window_rates`, and of each piece how many these are in `window_counts` (int32). `sketches`
    has PERMUTATIONS numbers of each piece that was kept, or none. `refused` counts reasons.
    """

    lines: bytes
    sides: npt.NDArray[np.int8]
    fingerprints: bytes
    ensemble: npt.NDArray[np.int32]
    ensembles: list[tuple[str, ...]]
    digests: bytes
    bars: npt.NDArray[np.int32]
    lengths: npt.NDArray[np.int32]
    owner: npt.NDArray[np.int32]
    first_bars: npt.NDArray[np.int32]
    tracks: npt.NDArray[np.int32]
    rates: Rates
    window_rates: Rates
    window_counts: npt.NDArray[np.int32]
    sketches: Signatures
    refused: Counter[str]


def write_shard(path: Path, pieces: Sequence[Encoded], digests: bytes) -> None:
    """Write the pieces of a shard; raises WriteError."""
    outcomes = [piece.outcome for piece in pieces]
    sides = {name: index for index, name in enumerate(SPLITS)}
    ensembles = {outcome.instruments: 0 for outcome in outcomes}
    ensembles = {instruments: index for index, instruments in enumerate(ensembles)}
    refused = Counter(outcome.reason for outcome in outcomes if outcome.outcome == REFUSED)
    fingerprints = "".join(outcome.fingerprint or _NO_FINGERPRINT for outcome in outcomes)
    counts = [len(piece.lengths) for piece in pieces]
    columns: dict[str, npt.NDArray[Any]] = {
        "lines": _as_bytes(b"".join(map(line, outcomes))),
        "sides": np.array(
            [sides[of.split] if of.outcome == KEPT else NO_SIDE for of in outcomes], np.int8
        ),
        "fingerprints": _as_bytes(bytes.fromhex(fingerprints)),
        "ensemble": np.array([ensembles[outcome.instruments] for outcome in outcomes], np.int32),
        "about": _as_bytes(json.dumps([list(ensembles), refused]).encode()),
        "digests": _as_bytes(digests),
        "bars": np.array([outcome.bars for outcome in outcomes], np.int32),
        "lengths": np.concatenate([piece.lengths for piece in pieces]),
        "owner": np.repeat(np.arange(len(pieces), dtype=np.int32), counts),
        "first_bars": np.concatenate([piece.first_bars for piece in pieces]),
        "tracks": np.concatenate([piece.tracks for piece in pieces]),
        "rates": np.concatenate([piece.rates for piece in pieces]),
        "window_rates": np.concatenate([piece.window_rates for piece in pieces]),
        "window_counts": np.array([len(piece.window_rates) for piece in pieces], np.int32),
        "sketches": np.concatenate([piece.sketch for piece in pieces]),
        "tokens": np.concatenate([piece.tokens for piece in pieces]),
    }
    write_columns(path, columns)


def _as_bytes(text: bytes) -> npt.NDArray[np.uint8]:
    return np.frombuffer(text, np.uint8)


def read_shard(path: Path) -> Shard:
    """Read a finished shard without its tokens; raises DataError if it has been damaged."""
    values: dict[str, Any] = dict(read_columns(path, _ALL_BUT_TOKENS))
    ensembles, refused = json.loads(values.pop("about").tobytes())
    return Shard(
        lines=values.pop("lines").tobytes(),
        fingerprints=values.pop("fingerprints").tobytes(),
        ensembles=[tuple(instruments) for instruments in ensembles],
        refused=Counter(refused),
        digests=values.pop("digests").tobytes(),
        **values,
    )


class Documents(NamedTuple):
    """The documents of a shard: see `Shard`; `tokens` holds them one after another."""

    tokens: TokenArray
    lengths: npt.NDArray[np.int32]
    owner: npt.NDArray[np.int32]
    tracks: npt.NDArray[np.int32]
    rates: Rates


def read_documents(path: Path) -> Documents:
    """Read the documents of a finished shard; raises DataError if it has been damaged."""
    return Documents(**read_columns(path, Documents._fields))
