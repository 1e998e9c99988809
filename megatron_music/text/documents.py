"""A song as documents: whole, or cut at the ends of lines where it is too long for one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from megatron_music.text.songs import Song
from megatron_music.tokenizer.text_vocabulary import Ids, TextVocabulary

_MARKS = 2
"""Tokens of a document apart from header and text: the mark before the text, the one after it."""


@dataclass(frozen=True)
class TextDocument:
    """The tokens of a document, and the characters of text that they hold."""

    tokens: Ids
    characters: int


def documents(songs: Sequence[Song], vocabulary: TextVocabulary) -> Iterator[list[TextDocument]]:
    """Give the documents of each song, none longer than the vocabulary's settings say."""
    longest = vocabulary.settings.longest_tokens
    for song, whole in zip(songs, vocabulary.encode([one.text for one in songs]), strict=True):
        header = vocabulary.header(song.artist, song.title)
        room = longest - len(header) - _MARKS
        # Most songs fit, and are encoded once.
        fits = len(whole) <= room
        parts = [(whole, len(song.text))] if fits else _parts(song.text, room, vocabulary)
        yield [
            TextDocument(
                np.array(
                    [
                        *header,
                        vocabulary.words if number == 0 else vocabulary.cut,
                        *ids.tolist(),
                        vocabulary.piece_end if number == len(parts) - 1 else vocabulary.cut,
                    ],
                    np.int32,
                ),
                characters,
            )
            for number, (ids, characters) in enumerate(parts)
        ]


def _parts(text: str, room: int, vocabulary: TextVocabulary) -> list[tuple[Ids, int]]:
    """Cut a text into runs of whole lines of at most `room` tokens each."""
    parts: list[tuple[Ids, int]] = []
    held: list[Ids] = []
    tokens = characters = 0
    lines = text.splitlines(keepends=True)
    for line, ids in zip(lines, vocabulary.encode(lines), strict=True):
        pieces, lengths = [ids], [len(line)]
        if len(ids) > room:  # it fills a document alone, and is cut between its tokens
            pieces = [ids[start : start + room] for start in range(0, len(ids), room)]
            lengths = [len(vocabulary.decode(piece.tolist())) for piece in pieces[:-1]]
            lengths.append(len(line) - sum(lengths))
        for piece, length in zip(pieces, lengths, strict=True):
            if tokens + len(piece) > room and held:
                parts.append((np.concatenate(held), characters))
                held, tokens, characters = [], 0, 0
            held.append(piece)
            tokens += len(piece)
            characters += length
    if held:
        parts.append((np.concatenate(held), characters))
    return parts
