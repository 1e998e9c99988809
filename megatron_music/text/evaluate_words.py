"""Evaluate a model of words: bits a character, variety, and copying from training."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from megatron_music.data.indexed import IndexedReader
from megatron_music.errors import UsageError
from megatron_music.evaluate.report_cache import JSON_FILE, software
from megatron_music.files import write_text
from megatron_music.generate.model_folder import model_identity
from megatron_music.progress import Progress, Stage
from megatron_music.text.duplicates import words_of
from megatron_music.text.words_request import TextRequest
from megatron_music.text.writer import Writer
from megatron_music.tokenizer.load import load_any_vocabulary
from megatron_music.tokenizer.text_vocabulary import TextVocabulary

HELD_OUT = ("valid", "test")
MOST_HELD_OUT_TOKENS = 500_000
MOST_TRAINING_TOKENS = 50_000_000
GRAM = 4
"""The least number of words in a row that count as copied."""

Runs = dict[tuple[str, ...], list[tuple[int, int]]]


class ReadDocument(NamedTuple):
    """A document: its tokens, where the text begins among them, and the text."""

    tokens: npt.NDArray[np.int64]
    begins: int
    text: str


def read_documents(
    prefix: Path, vocabulary: TextVocabulary, most_tokens: int
) -> Iterator[ReadDocument]:
    """Give the documents of one split in order, until `most_tokens` have been read."""
    done = 0
    reader = IndexedReader(prefix)
    for number in range(len(reader)):
        tokens = np.asarray(reader[number], np.int64)
        done += len(tokens)
        if done > most_tokens:
            return
        marks = np.flatnonzero((tokens == vocabulary.words) | (tokens == vocabulary.cut))
        # A document that continues a song has the mark of a cut in place of the mark of words.
        begins = int(marks[0]) + 1 if len(marks) else 0
        yield ReadDocument(tokens, begins, vocabulary.decode(tokens[begins:-1].tolist()))


def evaluate_text(
    model: Path, data: Path, request: TextRequest, identity: str, stage: Stage
) -> dict[str, Any]:
    """Return the figures of a model, and its samples; raises UsageError for other data."""
    writer = Writer.load(model)
    vocabulary = writer.vocabulary
    if load_any_vocabulary(data / "tokenizer").hash != vocabulary.hash:
        raise UsageError(
            f"{data} has another vocabulary than {model}; give the data it was trained on"
        )
    held = {
        name: list(read_documents(data / name, vocabulary, MOST_HELD_OUT_TOKENS))
        for name in HELD_OUT
    }
    losses = {}
    for name, documents in held.items():
        if documents:
            with stage(f"read {name}", "songs") as progress:
                losses[name] = _loss(writer, documents, progress)
    songs = []
    with stage("write", "songs") as progress:
        for song in writer.write(request):
            songs.append(song)
            progress(len(songs), request.count)
    written = [song.text for song in songs]
    real = [document.text for documents in held.values() for document in documents]
    with stage("look for copies", "songs") as progress:
        found = longest_copies(
            [words_of(text) for text in written],
            (
                words_of(one.text)
                for one in read_documents(data / "train", vocabulary, MOST_TRAINING_TOKENS)
            ),
        )
        progress(1, 1)
    best = max(range(len(found)), key=lambda song: len(found[song]))
    return {
        "identity": identity,
        "model": model_identity(model),
        "software": software(),
        "losses": losses,
        "distinct": {
            "written": distinct(written, len(" ".join(written))),
            # Over as many characters: the share falls with the length of a text.
            "held-out": distinct(real, len(" ".join(written))),
        },
        "copying": {
            "words_in_a_row": [len(one) for one in found],
            "longest": " ".join(found[best]),
        },
        "songs": [
            {"seed": song.seed, "artist": song.artist, "title": song.title, "text": song.text}
            for song in songs
        ],
    }


def _loss(
    writer: Writer, documents: Sequence[ReadDocument], progress: Progress
) -> dict[str, float]:
    """Return nats a token and bits a character over the texts, their end included."""
    nats, tokens = 0.0, 0
    most = int(writer.model.config.n_positions) + 1
    for done, document in enumerate(documents, 1):
        ids = torch.from_numpy(document.tokens[:most]).to(writer.model.device)
        with torch.inference_mode():
            logits = writer.model(ids[None, :-1]).logits[0].double()
        # The logits at one place are for the next token.
        surprise = -logits.log_softmax(-1).gather(1, ids[1:, None])[document.begins - 1 :]
        nats += float(surprise.sum())
        tokens += len(surprise)
        progress(done, len(documents))
    characters = sum(len(document.text) for document in documents)
    return {
        "nats_a_token": nats / max(tokens, 1),
        "bits_a_character": nats / math.log(2) / max(characters, 1),
        "characters": characters,
    }


def distinct(texts: Sequence[str], characters: int) -> dict[str, float]:
    """Return the share of different runs of 1, 2 and 3 words among all, without line ends.

    Shares fall as texts get longer, so that only the first `characters` characters count.
    """
    words = words_of(" ".join(texts)[:characters])
    made = {}
    for length in (1, 2, 3):
        runs = list(zip(*(words[at:] for at in range(length)), strict=False))
        made[str(length)] = len(set(runs)) / len(runs) if runs else 0.0
    return made


def longest_copies(
    songs: Sequence[Sequence[str]], training: Iterable[Sequence[str]]
) -> list[list[str]]:
    """Return the longest run of words of each song that is in a training song, too.

    Runs of fewer than GRAM words count as none. Training songs are gone through one by one.
    """
    places: Runs = {}
    for number, words in enumerate(songs):
        for at in range(len(words) - GRAM + 1):
            places.setdefault(tuple(words[at : at + GRAM]), []).append((number, at))
    longest: list[list[str]] = [[] for _ in songs]
    for text in training:
        for at in range(len(text) - GRAM + 1):
            for number, begin in places.get(tuple(text[at : at + GRAM]), ()):
                song = songs[number]
                run = GRAM
                while (
                    begin + run < len(song)
                    and at + run < len(text)
                    and song[begin + run] == text[at + run]
                ):
                    run += 1
                if run > len(longest[number]):
                    longest[number] = list(songs[number][begin : begin + run])
    return longest


def write_report(figures: dict[str, Any], folder: Path) -> None:
    """Write `report.md` and `report.json` into a folder; raises WriteError."""
    songs = []
    for song in figures["songs"]:
        head = " / ".join(filter(None, (song["artist"], song["title"]))) or "no title"
        text = "\n".join(f"    {line}" for line in song["text"].splitlines())
        songs.append(f"### {song['seed']}: {head}\n\n{text}")
    points = "\n".join(f"- {line.strip()}" for line in summary(figures))
    page = (
        f"# A model of words\n\n{figures['software']}\n\n{points}\n\n## Songs\n\n"
        + "\n\n".join(songs)
        + "\n"
    )
    write_text(folder / "report.md", page)
    write_text(folder / JSON_FILE, json.dumps(figures, indent=2, ensure_ascii=False) + "\n")


def summary(figures: dict[str, Any]) -> list[str]:
    """Return the main figures as lines of text."""
    lines = [
        f"{name:>6}: {of['bits_a_character']:.3f} bits a character, "
        f"{of['nats_a_token']:.3f} nats a token, {of['characters']:,} characters"
        for name, of in figures["losses"].items()
    ]
    for whose, of in figures["distinct"].items():
        shares = ", ".join(f"{length}: {share:.1%}" for length, share in of.items())
        lines.append(f"different runs of words, {whose}: {shares}")
    rows, copy = figures["copying"]["words_in_a_row"], figures["copying"]["longest"]
    lines.append(
        f"copying: at most {max(rows)} words in a row are in training songs, "
        f"{np.median(rows):.0f} in the median song" + (f"; the longest: {copy!r}" if copy else "")
    )
    return lines
