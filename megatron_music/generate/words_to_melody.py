"""Write words to a given melody: all notes stay; the model draws which notes are sung, and how."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from megatron_music.errors import UsageError
from megatron_music.generate.infill import place_of
from megatron_music.generate.sampler import TokenSampler
from megatron_music.generate.song_request import Request
from megatron_music.score.notes import Piece
from megatron_music.score.words import StrArray, without
from megatron_music.tokenizer.codec import encode
from megatron_music.tokenizer.grammar_rules_kernel import mark_syllables
from megatron_music.tokenizer.grammar_state import NOT_SUNG
from megatron_music.tokenizer.grammar_walk_kernel import sung_after
from megatron_music.tokenizer.token_kinds import token_table
from megatron_music.tokenizer.vocabulary import Kind, Vocabulary

Masks = npt.NDArray[np.bool_]

TOKENS_PER_NOTE = 6
"""Room for the words of a note: most syllables have fewer letters."""


@dataclass(frozen=True)
class SingTemplate:
    """Tokens of a window whose melody is to be sung, and what may be sung of it.

    `open` has, for the place of each NOTE_ON that may get a syllable, the number of its note in the
    piece's melody. `first_bar` and `bars` are the window.
    """

    tokens: list[int]
    open: dict[int, int]
    first_bar: int
    bars: int

    @property
    def given(self) -> list[int]:
        """The tokens up to the first note that may be sung."""
        return self.tokens[: min(self.open) + 1]


class MelodyConstraint:
    """Songs of which only the syllables of some notes are drawn; each has a template."""

    def __init__(
        self, vocabulary: Vocabulary, templates: Sequence[SingTemplate], max_tokens: int
    ) -> None:
        self.given = [template.given for template in templates]
        self._parts = slice(vocabulary.syllable, vocabulary.attribute)
        self.syllables: slice | None = self._parts
        self._templates = templates
        self._parts_bytes = token_table(vocabulary).values[self._parts]
        self._place = [0] * len(templates)
        self._sung = [NOT_SUNG] * len(templates)
        # What is left for words after all given tokens.
        self._spare = [max_tokens - len(template.tokens) for template in templates]

    def take(self, tokens: npt.NDArray[np.int64]) -> None:
        """Move each song past its next tokens."""
        songs, count = tokens.shape
        for song, index in np.ndindex(songs, count):
            template, place = self._templates[song], self._place[song]
            if place == len(template.tokens):  # ended before others of its batch
                continue
            part = int(tokens[song, index]) - self._parts.start
            if self._sung[song] != NOT_SUNG and 0 <= part < len(self._parts_bytes):
                self._sung[song] = int(sung_after(self._parts_bytes[part], self._sung[song]))
                self._spare[song] -= 1
            else:
                self._place[song] += 1
                self._sung[song] = 0 if place in template.open else NOT_SUNG

    def mark(self, masks: Masks) -> None:
        """Write the legal next tokens."""
        masks[:] = False
        for song, template in enumerate(self._templates):
            if self._place[song] < len(template.tokens):
                masks[song, template.tokens[self._place[song]]] = True
            if self._sung[song] != NOT_SUNG and self._spare[song] > 0:
                mark_syllables(self._sung[song], self._parts_bytes, masks[song, self._parts])


def sing(
    sampler: TokenSampler,
    piece: Piece,
    melody: int,
    seeds: Sequence[int],
    request: Request,
    vocabulary: Vocabulary,
) -> list[Piece]:
    """Return the piece with words for its track `melody`, one a seed; raises UsageError."""
    attributes = request.attribute_ids(vocabulary) or ()
    track = piece.tracks[melody]
    words: list[list[str]] = [without(len(track)).tolist() for _ in seeds]
    done = stage = 0
    while done < piece.bars:
        sung = [_with_words(piece, melody, np.array(of, np.str_)) for of in words]
        templates = _templates(sung, melody, done, vocabulary, sampler.max_tokens, attributes)
        first = templates[0].first_bar
        if templates[0].open:
            constraint = MelodyConstraint(vocabulary, templates, sampler.max_tokens)
            place = place_of(request, first, piece.bars, vocabulary)
            rows = sampler.draw(constraint, seeds, stage, np.array([place] * len(seeds)), first)
            for of, template, tokens in zip(words, templates, rows, strict=True):
                for note, syllable in _drawn(template, tokens, vocabulary).items():
                    of[note] = syllable
        # A stage a window: each draws from random numbers of its own.
        done, stage = first + templates[0].bars, stage + 1
    return [_with_words(piece, melody, np.array(of, np.str_)) for of in words]


def _with_words(piece: Piece, melody: int, words: StrArray) -> Piece:
    tracks = list(piece.tracks)
    tracks[melody] = replace(tracks[melody], syllables=words if words.any() else None)
    return replace(piece, tracks=tuple(tracks))


def _templates(
    sung: Sequence[Piece],
    melody: int,
    done: int,
    vocabulary: Vocabulary,
    max_tokens: int,
    attributes: tuple[int, ...],
) -> list[SingTemplate]:
    """Return the next window of each song, of the same bars; the first `done` bars have words.

    It reaches back over bars that have theirs, and is as long as in training where it fits.
    """
    total = sung[0].bars
    bars = min(vocabulary.settings.bars, total)
    while True:
        first = min(max(0, done - bars // 2), total - bars)
        templates = [
            sing_template(piece, melody, (first, bars, done), vocabulary, attributes)
            for piece in sung
        ]
        room = max(len(one.tokens) + TOKENS_PER_NOTE * len(one.open) for one in templates)
        if room <= max_tokens:
            return templates
        if bars == 1:
            raise UsageError(
                f"bar {first + 1} of the piece takes about {room} tokens with words, this model "
                f"holds {max_tokens}; `drop` tracks"
            )
        bars //= 2


def sing_template(
    piece: Piece,
    melody: int,
    window: tuple[int, int, int],
    vocabulary: Vocabulary,
    attributes: tuple[int, ...] = (),
) -> SingTemplate:
    """Return the template of a window (first bar, bars, first bar that is to be sung) of a piece.

    The melody comes last, so that its words follow from all that sounds.
    """
    first_bar, bars, new_bar = window
    first, last, new = piece.bar_starts[[first_bar, first_bar + bars, new_bar]].tolist()
    inside = [(track.onset >= first) & (track.onset < last) for track in piece.tracks]
    if not inside[melody].any():
        return SingTemplate([], {}, first_bar, bars)
    others = [place for place, of in enumerate(inside) if place != melody and of.any()]
    tracks = []
    for place in (*others, melody):
        track, chosen = piece.tracks[place], inside[place]
        end = np.minimum(track.end[chosen], last) - first
        tracks.append(track.some(chosen, track.onset[chosen] - first, end))
    part = Piece(
        piece.steps_per_quarter,
        bars,
        tuple(tracks),
        piece.metres[first_bar : first_bar + bars],
        piece.tempos_us[first_bar : first_bar + bars],
    )
    tokens = encode(part, vocabulary).tolist()
    tokens[1:1] = attributes
    begins = max(place for place, token in enumerate(tokens) if token == vocabulary.track_start)
    places = [
        place
        for place in range(begins, len(tokens))
        if vocabulary.meanings[tokens[place]][0] is Kind.NOTE_ON
    ]
    track = piece.tracks[melody]
    notes = dict(zip(places, np.flatnonzero(inside[melody]).tolist(), strict=True))
    # Only the highest of the notes that begin together may be sung.
    highest = np.ones(len(track), np.bool_)
    highest[:-1] = track.onset[1:] != track.onset[:-1]
    may_sing = highest & (track.onset >= new)
    return SingTemplate(
        tokens, {at: note for at, note in notes.items() if may_sing[note]}, first_bar, bars
    )


def _drawn(template: SingTemplate, tokens: Sequence[int], vocabulary: Vocabulary) -> dict[int, str]:
    """Return the syllables that were drawn for the notes of a melody."""
    parts: dict[int, list[int]] = {}
    place = 0
    note: int | None = None
    for token in tokens:
        kind, value = vocabulary.meanings[token]
        if note is not None and kind is Kind.SYLLABLE:
            parts[note].append(value)
            continue
        note = template.open.get(place)
        if note is not None:
            parts[note] = []
        place += 1
    return {note: vocabulary.spelling.spelled(of) for note, of in parts.items()}
