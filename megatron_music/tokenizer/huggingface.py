"""The tokenizer as a folder that Hugging Face `transformers` and stock Megatron load."""

import json
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from megatron_music.errors import WriteError
from megatron_music.files import read_small, write_text
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary, save_settings

_TOKENIZER_FILE = "tokenizer.json"

LONGEST = 1_000_000
"""Tokens of a text, where no model limits them."""

UNKNOWN = "PAD"
"""Replaces a word that is not a token.

Megatron's `HuggingFaceTokenizer` tokenizes `x y` when it is made, so there has to be one; another
token would change the size of the vocabulary, and with it every model and data set.
"""


def save_tokenizer(settings: TokenizerSettings, folder: Path, positions: int | None = None) -> None:
    """Write `tokenizer.json`, `tokenizer_config.json` and `mmmtrack.json` into `folder`.

    Words separated by spaces become ids, nothing is added; `AutoTokenizer.from_pretrained` loads
    the folder without remote code. `positions` is the longest text that the model takes, in
    tokens. Raises WriteError.
    """
    for name, text in _texts(settings, positions).items():
        write_text(folder / name, text)
    save_settings(settings, folder)


def refresh_tokenizer(
    settings: TokenizerSettings, folder: Path, positions: int | None = None
) -> bool:
    """Rewrite the files for `transformers` that an earlier version wrote otherwise; tell if so.

    Ids are the same in both. A folder that cannot be written keeps what it has.
    """
    texts = _texts(settings, positions)
    old = [name for name, text in texts.items() if _read(folder / name) != text]
    try:
        for name in old:
            write_text(folder / name, texts[name])
    except WriteError:
        return False
    return bool(old)


def loads_in_megatron(folder: Path) -> bool:
    """Tell whether stock Megatron can load a tokenizer folder; those of 2026-11 it cannot."""
    try:
        return bool(json.loads(_read(folder / _TOKENIZER_FILE) or "")["model"]["unk_token"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return False


def _texts(settings: TokenizerSettings, positions: int | None) -> dict[str, str]:
    """Return the contents of the files that `transformers` reads, by name."""
    tokenizer = Tokenizer(models.WordLevel(Vocabulary(settings).ids, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    # Every decoded word brings the space before it, as GPT-2's do, so that a continuation can be
    # appended to its prompt; only a piece's first word has none.
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace(Regex("^"), " "),
            decoders.Fuse(),
            decoders.Replace(Regex(r"\A PIECE_START"), "PIECE_START"),
        ]
    )
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "PIECE_START",
        "eos_token": "PIECE_END",
        "pad_token": "PAD",
        "unk_token": UNKNOWN,
        "padding_side": "left",  # generation continues at the right end of each row
        "model_max_length": positions or LONGEST,
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": True,  # else PAD is found inside other words too
    }
    return {
        _TOKENIZER_FILE: tokenizer.to_str(pretty=True),
        "tokenizer_config.json": json.dumps(config, indent=2) + "\n",
    }


def _read(path: Path) -> str | None:
    try:
        return read_small(path)
    except (OSError, UnicodeDecodeError):
        return None
