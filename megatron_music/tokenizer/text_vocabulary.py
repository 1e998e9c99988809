"""The vocabulary of a data set of words: characters or byte pairs, and the marks of a song.

A document is a song, or a part of one that is too long for a document:

    <|song|> <|artist|> NAME <|title|> TITLE <|words|> TEXT <|end|>

The artist and the title may be absent. Where a song is cut at the end of a line, the part before
ends in <|cut|>, and the part after has <|cut|> in place of <|words|>.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from megatron_music.errors import DataError, UsageError
from megatron_music.files import read_small, write_text

TEXT_FILE = "text.json"
TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
VERSION = 1

SONG, ARTIST, TITLE, WORDS, CUT = "<|song|>", "<|artist|>", "<|title|>", "<|words|>", "<|cut|>"
END, PAD, UNKNOWN = "<|end|>", "<|pad|>", "<|unknown|>"
GPT2_END = "<|endoftext|>"
"""What GPT-2 has learned to end a text with: it ends a song where a vocabulary has it."""

MARKS = (SONG, ARTIST, TITLE, WORDS, CUT, PAD)
MOST_CHARACTERS = 8_000
"""Kinds of characters in a vocabulary; rarer ones become UNKNOWN."""
LONGEST_FIELD = 64
"""Tokens of an artist or a title; what is longer is cut."""
_UNICODE = 0x110000
_LARGEST_FILE_BYTES = 64 << 20

Ids = npt.NDArray[np.int32]


@dataclass(frozen=True)
class TextSettings:
    """The settings of a vocabulary in addition to its tokens.

    `level` says what a token is, `end` which one ends a song. Where `has_artists` or `has_titles`
    some songs of the data set have one. No document is longer than `longest_tokens`.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    level: Literal["characters", "bytes"] = "characters"
    end: str = END
    has_artists: bool = False
    has_titles: bool = False
    longest_tokens: int = 1024


class TextVocabulary:
    """The tokens of words and their ids; `pad`, `piece_start` and `piece_end` as music has them."""

    def __init__(self, settings: TextSettings, tokenizer: Tokenizer) -> None:
        """Take a tokenizer that has the marks; raises DataError where it lacks one."""
        self.settings = settings
        self._tokenizer = tokenizer
        tokenizer.encode_special_tokens = True  # a song may hold the text of a mark
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._size = tokenizer.get_vocab_size()
        self.piece_start, self.piece_end = self._mark(SONG), self._mark(settings.end)
        self.artist, self.title, self.words = map(self._mark, (ARTIST, TITLE, WORDS))
        self.cut, self.pad = self._mark(CUT), self._mark(PAD)

    def _mark(self, name: str) -> int:
        token = self._tokenizer.token_to_id(name)
        if token is None:
            raise DataError(f"the tokenizer has no token {name}; build the data set again")
        return int(token)

    def __len__(self) -> int:
        return self._size

    @property
    def unspoken(self) -> list[int]:
        """The tokens that are not part of a text: marks, and that of unknown characters."""
        names = (*MARKS, self.settings.end, GPT2_END, UNKNOWN)
        ids = {self._tokenizer.token_to_id(name) for name in names}
        return sorted(token for token in ids if token is not None)

    @cached_property
    def hash(self) -> str:
        """A sha256 over version and tokenizer: equal exactly when every id means the same."""
        contents = json.loads(self._tokenizer.to_str())
        # Not the whole file: padding and truncation, which `tokenizers` stores too, change no id.
        parts = [VERSION, self.settings.end, contents["model"], contents["added_tokens"]]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @cached_property
    def _table(self) -> Ids:
        """The id of every character, for a vocabulary of characters."""
        table = np.full(_UNICODE, self._mark(UNKNOWN), np.int32)
        for token, number in self._tokenizer.get_vocab().items():
            if len(token) == 1:
                table[ord(token)] = number
        return table

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        """Return the ids of each text; no text becomes a mark."""
        if self.settings.level == "characters":
            return [
                self._table[np.frombuffer(text.encode("utf-32-le", "replace"), np.uint32)]
                for text in texts
            ]
        made = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(one.ids, np.int32) for one in made]

    def unknown_in(self, text: str) -> list[str]:
        """Return the characters of a text that the vocabulary lacks; one of bytes has all."""
        if self.settings.level != "characters":
            return []
        unknown = self._mark(UNKNOWN)
        ids = self.encode([text])[0].tolist()
        return sorted({one for one, token in zip(text, ids, strict=True) if token == unknown})

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, without marks."""
        marks = set(self.unspoken)
        return str(self._tokenizer.decode([token for token in ids if token not in marks]))

    def header(self, artist: str, title: str) -> list[int]:
        """Return the ids that a song of an artist and a title begins with, up to its text."""
        ids = [self.piece_start]
        for mark, text in ((self.artist, artist), (self.title, title)):
            if text:
                ids += [mark, *self.encode([text])[0][:LONGEST_FIELD].tolist()]
        return ids

    def extends(self, folder: Path) -> bool:
        """Tell whether the ids of another tokenizer's folder mean the same here."""
        other, own = read_tokenizer(folder), self._tokenizer
        if type(other.model) is not type(own.model):
            return False
        theirs, ours = (json.loads(one.to_str())["model"] for one in (other, own))
        same = all(own.token_to_id(token) == of for token, of in other.get_vocab().items())
        return same and theirs.get("merges") == ours.get("merges")

    def save(self, folder: Path, positions: int | None = None) -> None:
        """Write the folder that `load_text_vocabulary` and `AutoTokenizer` load.

        `positions` is the longest text that the model takes, in tokens. Raises WriteError.
        """
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": SONG,
            "eos_token": self.settings.end,
            "pad_token": PAD,
            "padding_side": "left",  # generation continues at the right end of each row
            "model_max_length": positions or self.settings.longest_tokens,
            "clean_up_tokenization_spaces": False,
            "split_special_tokens": True,  # a song may hold the text of a mark
        }
        if self.settings.level == "characters":
            config["unk_token"] = UNKNOWN
        values = {"version": VERSION, "vocabulary_hash": self.hash, **asdict(self.settings)}
        write_text(folder / TOKENIZER_FILE, self._tokenizer.to_str())
        write_text(folder / CONFIG_FILE, json.dumps(config, indent=2) + "\n")
        write_text(folder / TEXT_FILE, json.dumps(values, indent=2) + "\n")


def is_text(folder: Path) -> bool:
    """Tell whether the tokenizer in a folder is one of words."""
    return (folder / TEXT_FILE).is_file()


def load_text_vocabulary(folder: Path) -> TextVocabulary:
    """Read the vocabulary of a tokenizer folder; raises DataError if it is not a sound one."""
    from pydantic import TypeAdapter, ValidationError

    from megatron_music.config import validation_message

    path = folder / TEXT_FILE
    try:
        values: dict[str, Any] = json.loads(read_small(path))
        version, expected = values.pop("version"), values.pop("vocabulary_hash")
        settings = TypeAdapter(TextSettings).validate_json(json.dumps(values), strict=True)
        vocabulary = TextVocabulary(settings, read_tokenizer(folder))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as fault:
        reason = validation_message(fault) if isinstance(fault, ValidationError) else str(fault)
        raise DataError(f"{path} is damaged ({reason}); build or export it again") from None
    if version != VERSION or vocabulary.hash != expected:
        raise DataError(
            f"{path} and {folder / TOKENIZER_FILE} do not belong together, or are of another "
            "version; build the data set again"
        )
    return vocabulary


def read_tokenizer(folder: Path) -> Tokenizer:
    """Read the tokenizer of a Hugging Face folder; raises DataError.

    It is `tokenizer.json`, or GPT-2's `vocab.json` and `merges.txt`.
    """
    path = folder / TOKENIZER_FILE
    if path.is_file() and path.stat().st_size > _LARGEST_FILE_BYTES:
        raise DataError(f"{path} is larger than any tokenizer; give another folder")
    pair = folder / "vocab.json", folder / "merges.txt"
    try:
        if path.is_file():
            return Tokenizer.from_str(path.read_text(encoding="utf-8"))
        if all(one.is_file() for one in pair):
            tokenizer = Tokenizer(models.BPE.from_file(*map(str, pair)))
            return with_bytes(tokenizer)
    except Exception as fault:  # tokenizers raises bare exceptions
        reason = " ".join(str(fault).split())[:200]
        raise DataError(f"cannot read the tokenizer in {folder} ({reason})") from None
    raise DataError(
        f"no tokenizer in {folder} ({TOKENIZER_FILE}, or vocab.json with merges.txt); "
        "give a folder that has one"
    )


def with_bytes(tokenizer: Tokenizer) -> Tokenizer:
    """Have a tokenizer read and write bytes as GPT-2's does; returns it."""
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def characters_vocabulary(characters: Sequence[str]) -> Tokenizer:
    """Return a tokenizer of single characters, without marks."""
    ids = {one: number for number, one in enumerate([UNKNOWN, *characters])}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


def with_marks(tokenizer: Tokenizer) -> tuple[Tokenizer, str]:
    """Add the marks of songs to a tokenizer; return it and the mark that ends a song.

    Tokens that are there keep their ids. Raises UsageError for a tokenizer that is not of bytes
    or characters, since some text could not be read back.
    """
    if tokenizer.normalizer is not None:
        raise UsageError("this tokenizer changes the text that it reads; give one as GPT-2's")
    end = GPT2_END if tokenizer.token_to_id(GPT2_END) is not None else END
    kept = [UNKNOWN] * (tokenizer.token_to_id(UNKNOWN) is not None)
    names = [*kept, *MARKS, end]
    tokenizer.add_special_tokens(
        [AddedToken(name, special=True, normalized=False) for name in names]
    )
    return tokenizer, end
