"""A melody to given words: the syllables that each bar has come in it, in order, a note each.

The grammar of templates (`infill_kernel`) says what may come; here it is narrowed to what leaves
room, in steps and in tokens, for the syllables still to come. The track that sings has one note at
a time; a note between two syllables may go without one, as in a melisma.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from megatron_music.generate.lyrics import Lines
from megatron_music.tokenizer.grammar_state import LENGTH, NOTES, STEP, STRUCK
from megatron_music.tokenizer.infill_kernel import (
    CURSOR,
    DUE,
    FIRST_SLOT,
    FREE,
    IS_FULL,
    LAST_DUE,
    LOCKED,
    NEEDS_NOTE,
    OVER,
    OWN,
    STEPS,
    mark_template_tokens,
    new_templates,
    take_template_tokens,
)
from megatron_music.tokenizer.infill_template import InfillTemplate
from megatron_music.tokenizer.vocabulary import PITCHES, Vocabulary

Masks = npt.NDArray[np.bool_]

_WAY_TO_A_NOTE = 2
"""Tokens that a note may take beside its own: the end of the one before, and time up to it."""


class SungTrack(NamedTuple):
    """The track of a piece that sings, and the syllables of each of the piece's bars."""

    track: int
    bars: Lines


def tokens_of_words(template: InfillTemplate, sung: SungTrack, vocabulary: Vocabulary) -> int:
    """Return the tokens that the words of a template's bars take at least, with their notes."""
    return sum(
        len(vocabulary.spelling.spell(one)) + vocabulary.note_tokens + _WAY_TO_A_NOTE
        for slot in template.slots
        if slot.track == sung.track
        for one in sung.bars[slot.bar]
    )


@dataclass
class _Singer:
    """Where a song is with its words: what is left of the bar, and of the syllable."""

    slot: int = -1
    sings: bool = False
    queue: list[list[int]] = field(default_factory=list)
    rest: list[int] = field(default_factory=list)
    on_note: bool = False
    has_begun: bool = False


class GivenWords:
    """Songs whose open bars get given words, a template each; see `sampler.InfillConstraint`."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        templates: Sequence[InfillTemplate],
        max_tokens: int,
        sung: Sequence[SungTrack],
        velocities: tuple[int, int] | None = None,
    ) -> None:
        self.given = [template.given for template in templates]
        self._parts = slice(vocabulary.syllable, vocabulary.attribute)
        self.syllables: slice | None = self._parts
        self._vocabulary = vocabulary
        self._slots = [template.slots for template in templates]
        self._sung = sung
        self._batch = new_templates(templates, vocabulary, max_tokens, velocities)
        self._credit = vocabulary.note_tokens + _WAY_TO_A_NOTE
        self._singers = [_Singer(has_begun=template.first_bar > 0) for template in templates]
        for song, template in enumerate(templates):
            # What the words take counts as written from the beginning, and no longer when its turn
            # comes: so the grammar leaves that room to them.
            owed = tokens_of_words(template, sung[song], vocabulary)
            self._batch.state.cells[song, LENGTH] += owed

    def take(self, tokens: npt.NDArray[np.int64]) -> None:
        """Move each song past its next tokens."""
        for place in range(tokens.shape[1]):
            column = np.ascontiguousarray(tokens[:, place : place + 1])
            take_template_tokens(column, self._batch)
            for song, token in enumerate(column[:, 0].tolist()):
                self._follow(song, token)

    def mark(self, masks: Masks) -> None:
        """Write the legal next tokens."""
        mark_template_tokens(self._batch, masks)
        for song, singer in enumerate(self._singers):
            if singer.slot >= 0:
                self._narrow(song, singer, masks[song])

    def _follow(self, song: int, token: int) -> None:
        """Move the words of a song past a token that its template has taken."""
        singer, vocabulary = self._singers[song], self._vocabulary
        item = int(self._batch.items[song, self._batch.places[song, CURSOR]])
        slot = FIRST_SLOT - item if OVER < item <= FIRST_SLOT else -1
        if slot != singer.slot:
            self._enter(song, singer, slot)
        elif singer.sings and vocabulary.syllable <= token < vocabulary.attribute:
            if singer.on_note:
                spelled = singer.queue.pop(0)
                singer.rest = spelled[1:]
                singer.has_begun = True
                self._release(song, len(spelled) + self._credit * bool(singer.queue))
            else:
                singer.rest = singer.rest[1:]
            singer.on_note = False
        else:
            singer.on_note = vocabulary.note_on <= token < vocabulary.note_on + PITCHES

    def _enter(self, song: int, singer: _Singer, slot: int) -> None:
        """Begin a bar, or leave one (-1)."""
        singer.slot, singer.on_note, singer.queue = slot, False, []
        bar = self._slots[song][slot] if slot >= 0 else None
        singer.sings = bar is not None and bar.track == self._sung[song].track
        if bar is not None and singer.sings:
            first, spell = self._vocabulary.syllable, self._vocabulary.spelling.spell
            of_bar = self._sung[song].bars[bar.bar]
            singer.queue = [[first + part for part in spell(one)] for one in of_bar]
        self._release(song, self._credit * bool(singer.queue))

    def _release(self, song: int, tokens: int) -> None:
        self._batch.state.cells[song, LENGTH] -= tokens

    def _narrow(self, song: int, singer: _Singer, mask: Masks) -> None:
        """Leave of the legal tokens those from which the words can still come."""
        if singer.rest:
            _only(singer.rest[0], mask)
            return
        mask[self._parts] = False
        if not singer.sings:
            return
        ids, cells, place = (
            self._vocabulary,
            self._batch.state.cells[song],
            self._batch.places[song],
        )
        flags = self._batch.flags[song, singer.slot]
        step, left, own = int(cells[STEP]), len(singer.queue), int(place[OWN])
        spare, steps = self._spare(song, singer.slot), int(flags[STEPS])
        if singer.on_note and left:
            if not singer.has_begun or left >= steps - step or spare < self._credit:
                _only(singer.queue[0][0], mask)
                return
            mask[singer.queue[0][0]] = True
        is_held = bool((self._batch.state.onsets[song] == LOCKED).any())
        if own or is_held:
            mask[ids.note_on : ids.note_on + PITCHES] = False
            mask[ids.velocity : ids.tempo] = False
        if not left:
            return
        mask[self._batch.items[song, place[CURSOR] + 1]] = False
        # Each syllable still to come has a step of its own.
        least, most = 1, max(0, steps - left - step)
        if spare <= self._credit:
            if is_held or step < flags[FREE]:  # to where a note may begin, at once
                waits = place[DUE] < flags[LAST_DUE]
                goal = self._batch.dues[song, place[DUE], 0] if waits else flags[FREE]
                least = most = int(goal) - step
            elif not (own and (cells[STRUCK] or not step)):
                most = 0
        mask[ids.time_delta + 1 : ids.time_delta + least] = False
        mask[ids.time_delta + most + 1 : ids.inst] = False

    def _spare(self, song: int, slot: int) -> int:
        """Return at least how many tokens are left beyond what is owed."""
        batch, flags = self._batch, self._batch.flags[song, slot]
        cells, place = batch.state.cells[song], batch.places[song]
        note = self._vocabulary.note_tokens
        owed = int(batch.owed[song, place[CURSOR] + 1]) + int(place[OWN]) + 1
        owed += note * int(flags[NEEDS_NOTE] and not cells[NOTES])
        owed += 2 * int(flags[LAST_DUE] - place[DUE])
        owed += (note + 2) * int(flags[IS_FULL])
        return batch.rules.max_tokens - int(cells[LENGTH]) - owed


def _only(token: int, mask: Masks) -> None:
    mask[:] = False
    mask[token] = True
