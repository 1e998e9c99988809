"""The tokenizer as a folder that Hugging Face `transformers` and stock Megatron load."""

import json
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers

from megatron_music.files import write_text
from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary, save_settings

LONGEST = 1_000_000


def save_tokenizer(settings: TokenizerSettings, folder: Path) -> None:
    """Write `tokenizer.json`, `tokenizer_config.json` and `mmmtrack.json` into `folder`.

    Words separated by spaces become ids, nothing is added; `AutoTokenizer.from_pretrained` loads
    the folder without remote code. Raises WriteError.
    """
    vocabulary = Vocabulary(settings)
    tokenizer = Tokenizer(models.WordLevel(vocabulary.ids))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "PIECE_START",
        "eos_token": "PIECE_END",
        "pad_token": "PAD",
        "model_max_length": LONGEST,
        "clean_up_tokenization_spaces": False,
    }
    write_text(folder / "tokenizer.json", tokenizer.to_str(pretty=True))
    write_text(folder / "tokenizer_config.json", json.dumps(config, indent=2) + "\n")
    save_settings(settings, folder)
