"""Load an exported model of words and write songs with it."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from transformers import GPT2LMHeadModel

from megatron_music.errors import CheckpointError, UsageError
from megatron_music.generate.decoding import CachedGPT2, decode
from megatron_music.generate.load_model import load_on_device
from megatron_music.generate.sampler import SongSampler
from megatron_music.text.songs import clean
from megatron_music.text.words_request import TextRequest
from megatron_music.tokenizer.text_vocabulary import (
    LONGEST_FIELD,
    TextVocabulary,
    load_text_vocabulary,
)


@dataclass(frozen=True)
class WrittenSong:
    """A song that the model wrote; artist and title are requested, or chosen by the model.

    `tokens` are the ids of the text alone. A song that is not `is_finished` reached `max_tokens`.
    """

    seed: int
    artist: str
    title: str
    text: str
    tokens: tuple[int, ...]
    is_finished: bool


class Writer:
    """An exported model with its vocabulary."""

    def __init__(self, model: GPT2LMHeadModel, vocabulary: TextVocabulary) -> None:
        """Raise CheckpointError where the two are not of one size."""
        if model.config.vocab_size != len(vocabulary):
            raise CheckpointError(
                f"the model has {model.config.vocab_size} tokens, its vocabulary "
                f"{len(vocabulary)}; export the run again"
            )
        self.model = model.eval()
        self.vocabulary = vocabulary
        self._exact: GPT2LMHeadModel | None = None

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Load a folder that `export` wrote, onto a GPU if torch can use one.

        Raises CheckpointError, and MissingError for a GPU that torch has no code for.
        """
        return cls(load_on_device(folder), load_text_vocabulary(folder))

    def write(self, request: TextRequest) -> Iterator[WrittenSong]:
        """Write the requested songs, one after another; raises UsageError.

        A song depends on its seed and the request alone.
        """
        settings = self.vocabulary.settings
        for name, has in (("artist", settings.has_artists), ("title", settings.has_titles)):
            if getattr(request, name) and not has:
                raise UsageError(f"the model learned no {name}s; leave out --{name}")
        unknown = self.vocabulary.unknown_in(request.prompt + request.artist + request.title)
        if unknown:
            raise UsageError(
                f"the model never met {', '.join(map(repr, unknown[:8]))}; leave that out of the "
                "prompt, the artist and the title"
            )
        if request.exact and self._exact is None:
            self._exact = copy.deepcopy(self.model).double()
        model = self._exact if request.exact and self._exact is not None else self.model
        for seed in request.seeds:
            yield _Song(model, self.vocabulary, request, seed).written()


class _Song:
    """One song while it is written: its context grows, and is cut where the model is full."""

    def __init__(
        self, model: GPT2LMHeadModel, vocabulary: TextVocabulary, request: TextRequest, seed: int
    ) -> None:
        self._model, self._vocabulary = model, vocabulary
        self._request, self._seed = request, seed
        self._most = int(model.config.n_positions)
        self._stage = 0

    def written(self) -> WrittenSong:
        """Draw the fields that are not given, then the text to its end."""
        vocabulary, request = self._vocabulary, self._request
        fields = {"artist": request.artist, "title": request.title}
        header = self._header(fields)
        prompt = vocabulary.encode([clean(request.prompt)])[0].tolist() if request.prompt else []
        text, context = list(prompt), [*header, vocabulary.words, *prompt]
        if len(context) >= self._most:
            raise UsageError(
                f"the prompt has {len(prompt):,} tokens, and with artist and title the model holds "
                f"{self._most:,}; give a shorter one"
            )
        is_finished = False
        while len(text) < request.max_tokens and not is_finished:
            room = min(self._most - len(context), request.max_tokens - len(text))
            drawn = self._draw(context, (vocabulary.piece_end, vocabulary.cut), room)
            is_finished = drawn[-1] == vocabulary.piece_end
            is_cut = drawn[-1] == vocabulary.cut
            new = drawn[:-1] if is_finished or is_cut else drawn
            text += new
            context = [*context, *new]
            # A full model resumes from its last lines, as training documents that were cut do:
            # those of the text that fill at most half of it.
            if is_cut or len(context) >= self._most:
                carried = text[-((self._most - len(header)) // 2) :]
                _, _, whole_lines = vocabulary.decode(carried).partition("\n")
                if whole_lines:
                    carried = vocabulary.encode([whole_lines])[0].tolist()
                context = [*header, vocabulary.cut, *carried]
        return WrittenSong(
            seed=self._seed,
            artist=fields["artist"],
            title=fields["title"],
            text=vocabulary.decode(text),
            tokens=tuple(text),
            is_finished=is_finished,
        )

    def _header(self, fields: dict[str, str]) -> list[int]:
        """Return the ids up to the text; fields that are not given are drawn into `fields`."""
        vocabulary, settings = self._vocabulary, self._vocabulary.settings
        if fields["artist"] or not settings.has_artists:
            context = vocabulary.header(fields["artist"], "")
        else:
            context = self._field(
                [vocabulary.piece_start], vocabulary.artist, (vocabulary.title, vocabulary.words)
            )
            fields["artist"] = _on_one_line(vocabulary.decode(context))
        artist_ids = len(context)
        if fields["title"]:
            return [*context, *vocabulary.header("", fields["title"])[1:]]
        if settings.has_titles:
            context = self._field(context, vocabulary.title, (vocabulary.words,))
            fields["title"] = _on_one_line(vocabulary.decode(context[artist_ids:]))
        return context

    def _field(self, context: list[int], mark: int, ends: tuple[int, ...]) -> list[int]:
        """Draw whether a field follows, and its text; the mark that ends it is left out."""
        (first,) = self._draw(context, (mark, *ends), 1, with_text=False)
        if first != mark:
            return context
        drawn = self._draw([*context, mark], ends, LONGEST_FIELD)
        text = [token for token in drawn if token not in ends]
        return [*context, mark, *text] if text else context

    def _draw(
        self, context: list[int], ends: tuple[int, ...], most: int, with_text: bool = True
    ) -> list[int]:
        """Draw tokens up to one of `ends`, it included, or `most` of them."""
        device = self._model.device
        barred = torch.full((len(self._vocabulary),), not with_text, device=device)
        barred[self._vocabulary.unspoken] = True
        barred[list(ends)] = False
        sample = SongSampler([self._seed], self._request.sampling, self._stage)
        self._stage += 1
        cached = CachedGPT2(self._model, 1)

        def read(ids: torch.Tensor) -> torch.Tensor:
            return cached.read(cached.embed(ids))

        def choose(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            return sample(ids, scores.masked_fill(barred, float("-inf")))

        start, most_tokens = torch.tensor([context], device=device), len(context) + most
        (row,) = decode(read, choose, start, ends, most_tokens)
        return row[len(context) :]


def _on_one_line(text: str) -> str:
    return " ".join(text.split())
