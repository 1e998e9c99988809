"""Find the data set that an exported model was trained on, if it is still there."""

import json
from pathlib import Path

import numpy as np

from megatron_music.data.indexed import IndexedReader
from megatron_music.errors import MusicError, UsageError
from megatron_music.score.instruments import INSTRUMENT_COUNT, parse_instrument
from megatron_music.tokenizer.load import AnyVocabulary, load_any_vocabulary
from megatron_music.tokenizer.vocabulary import Vocabulary
from megatron_music.train.run_dir import RunDir

_RECORD = "megatron_music.json"
_MOST_TOKENS = 50_000_000


def training_data(model: Path, vocabulary: AnyVocabulary, named: Path | None = None) -> Path | None:
    """Return the folder of the training data: the one named, else the one that the run records.

    None where nothing is named and nothing is found. Raises UsageError if the folder named is of
    another vocabulary, DataError if it is not a data set.
    """
    if named is not None:
        if load_any_vocabulary(named / "tokenizer").hash != vocabulary.hash:
            raise UsageError(
                f"{named} has another vocabulary than {model}; give the data it was trained on"
            )
        return named
    try:
        record = json.loads((model / _RECORD).read_text(encoding="utf-8"))
        run = RunDir(Path(record["step"]).parents[1])
        environment = json.loads(run.environment.read_text(encoding="utf-8"))
        data = Path(environment["data"])
        same = load_any_vocabulary(data / "tokenizer").hash == vocabulary.hash
        return data if same and (data / "train.idx").is_file() else None
    except (OSError, ValueError, KeyError, TypeError, IndexError, MusicError):
        return None


def training_instruments(data: Path | None, vocabulary: Vocabulary) -> frozenset[int] | None:
    """Return the instruments that the training data have; None where they are not known."""
    if vocabulary.settings.ensemble:
        return frozenset(map(parse_instrument, vocabulary.settings.ensemble))
    if data is None:
        return None
    # The first tokens are enough to know which instruments there are.
    tokens = IndexedReader(data / "train").tokens[:_MOST_TOKENS]
    counts = np.bincount(np.asarray(tokens, np.int64), minlength=len(vocabulary))
    codes = counts[vocabulary.inst : vocabulary.inst + INSTRUMENT_COUNT]
    return frozenset(np.flatnonzero(codes).tolist())
