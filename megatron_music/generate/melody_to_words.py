"""Compose a melody to given words: each bar has its own syllables, in order, a note each.

The grammar of templates (`infill_kernel`) gives the legal tokens. Of these only the tokens are kept
that leave room, in steps and in tokens, for the syllables that follow. The track that sings has one
note at a time; a note between two syllables may have none, as in a melisma.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from megatron_music.generate.lyrics import LaidWords
from megatron_music.generate.sampler import InfillConstraint
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
)
from megatron_music.tokenizer.infill_template import InfillTemplate
from megatron_music.tokenizer.vocabulary import PITCHES, Vocabulary

Masks = npt.NDArray[np.bool_]

_WAY_TO_A_NOTE = 2
"""The tokens before a note: the end of the last note, and a TIME_DELTA."""


class SungTrack(NamedTuple):
    """The track of a piece that sings, and the syllables of each of the piece's bars."""

    track: int
    words: LaidWords


def tokens_of_words(template: InfillTemplate, sung: SungTrack, vocabulary: Vocabulary) -> int:
    """Return the least number of tokens of a template's words with their notes."""
    note = vocabulary.note_tokens + _WAY_TO_A_NOTE
    bars = [slot.bar for slot in template.slots if slot.track == sung.track]
    words = sum(
        len(vocabulary.spelling.spell(one)) + note for bar in bars for one in sung.words.bars[bar]
    )
    # The note of an upbeat ends at the barline, and another begins there.
    return words + note * sum(sung.words.upbeats[bar] > 0 for bar in bars)


@dataclass
class _Singer:
    """The state of a song's words: the syllables left in the bar, the tokens left of a syllable.

    The last `upbeat` syllables of the bar begin at `upbeat_step` at the earliest; with
    `is_downbeat` its first one begins with the bar, as the syllable after an upbeat does.
    """

    slot: int = -1
    sings: bool = False
    queue: list[list[int]] = field(default_factory=list)
    rest: list[int] = field(default_factory=list)
    on_note: bool = False
    has_begun: bool = False
    upbeat: int = 0
    upbeat_step: int = 0
    is_downbeat: bool = False

    def limits(self, steps: int) -> tuple[int, int, int]:
        """Return the first and the last step of the next syllables, and their number."""
        left = len(self.queue)
        if not self.upbeat:
            return 0, steps, left
        if left > self.upbeat:
            return 0, self.upbeat_step, left - self.upbeat
        return self.upbeat_step, steps, left


class WordsConstraint:
    """Songs whose open bars get given words, a template each; see `sampler.InfillConstraint`."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        templates: Sequence[InfillTemplate],
        max_tokens: int,
        sung: Sequence[SungTrack],
        velocities: tuple[int, int] | None = None,
    ) -> None:
        self._infill = InfillConstraint(vocabulary, templates, max_tokens, velocities)
        self.given = self._infill.given
        self._parts = slice(vocabulary.syllable, vocabulary.attribute)
        self.syllables: slice | None = self._parts
        self._vocabulary = vocabulary
        self._slots = [template.slots for template in templates]
        self._sung = sung
        self._batch = self._infill.templates
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
            self._infill.take(column)
            for song, token in enumerate(column[:, 0].tolist()):
                self._follow(song, token)

    def mark(self, masks: Masks) -> None:
        """Write the legal next tokens."""
        self._infill.mark(masks)
        for song, singer in enumerate(self._singers):
            if singer.slot >= 0:
                self._narrow(song, singer, masks[song])

    def _follow(self, song: int, token: int) -> None:
        """Move the words of a song past a token that its template has taken."""
        singer, vocabulary = self._singers[song], self._vocabulary
        item = int(self._batch.items[song, self._batch.places[song, CURSOR]])
        slot = FIRST_SLOT - item if OVER < item <= FIRST_SLOT else -1
        if slot != singer.slot:
            # A bar begins, or ends where the next item is no slot (-1).
            singer.slot, singer.on_note, singer.queue = slot, False, []
            bar = self._slots[song][slot] if slot >= 0 else None
            singer.sings = bar is not None and bar.track == self._sung[song].track
            if bar is not None and singer.sings:
                first, spell = self._vocabulary.syllable, self._vocabulary.spelling.spell
                words = self._sung[song].words
                of_bar = words.bars[bar.bar]
                singer.upbeat, singer.upbeat_step = words.upbeats[bar.bar], words.upbeat_step
                singer.is_downbeat = bar.bar > 0 and words.upbeats[bar.bar - 1] > 0
                singer.queue = [[first + part for part in spell(one)] for one in of_bar]
            self._release(song, self._credit * bool(singer.queue))
        elif singer.sings and vocabulary.syllable <= token < vocabulary.attribute:
            if singer.on_note:
                spelled = singer.queue.pop(0)
                singer.rest = spelled[1:]
                singer.has_begun = True
                is_next = bool(singer.queue or singer.upbeat)
                self._release(song, len(spelled) + self._credit * is_next)
            else:
                singer.rest = singer.rest[1:]
            singer.on_note = False
        else:
            singer.on_note = vocabulary.note_on <= token < vocabulary.note_on + PITCHES

    def _release(self, song: int, tokens: int) -> None:
        self._batch.state.cells[song, LENGTH] -= tokens

    def _narrow(self, song: int, singer: _Singer, mask: Masks) -> None:
        """Keep only the legal tokens after which all words can still be sung."""
        if singer.rest:
            _only(singer.rest[0], mask)
            return
        mask[self._parts] = False
        if not singer.sings:
            return
        cells, place = self._batch.state.cells[song], self._batch.places[song]
        steps = int(self._batch.flags[song, singer.slot][STEPS])
        step, own, spare = int(cells[STEP]), int(place[OWN]), self._spare(song, singer.slot)
        first, last, left = singer.limits(steps)
        if singer.on_note and left and step >= first:
            is_due = left >= last - step or spare < self._credit or not singer.has_begun
            if is_due or (singer.is_downbeat and not step):
                _only(singer.queue[0][0], mask)
                return
            mask[singer.queue[0][0]] = True
        is_held = bool((self._batch.state.onsets[song] == LOCKED).any())
        # Notes before an upbeat may not take the room of its words.
        is_early = left > 0 and step < first and (not singer.has_begun or spare <= self._credit)
        closing = self._batch.items[song, place[CURSOR] + 1]
        if own or is_held or is_early:
            # A note begins with its VELOCITY token where the vocabulary has them.
            ids = self._vocabulary
            mask[ids.note_on : ids.note_on + PITCHES] = False
            mask[ids.velocity : ids.tempo] = False
        if left:
            mask[closing] = False
            self._narrow_times(song, singer, is_held, mask)
        elif own and singer.upbeat:
            # The note of an upbeat is held to the barline and ends there: the next begins a bar.
            mask[closing] = False
            if step < steps:
                _only(self._vocabulary.time_delta + steps - step, mask)

    def _narrow_times(self, song: int, singer: _Singer, is_held: bool, mask: Masks) -> None:
        """Keep the TIME_DELTA tokens that leave a step for each syllable of the bar."""
        ids, cells = self._vocabulary, self._batch.state.cells[song]
        place, flags = self._batch.places[song], self._batch.flags[song, singer.slot]
        step, own = int(cells[STEP]), int(place[OWN])
        first, last, left = singer.limits(int(flags[STEPS]))
        least, most = 1, max(0, last - left - step)
        begins = mask[ids.note_on : ids.note_off].any() or mask[ids.velocity : ids.tempo].any()
        if singer.is_downbeat and not step and not cells[STRUCK] and begins:
            most = 0
        elif self._spare(song, singer.slot) <= self._credit:
            if is_held or step < flags[FREE]:  # to where a note may begin, at once
                waits = place[DUE] < flags[LAST_DUE]
                goal = self._batch.dues[song, place[DUE], 0] if waits else flags[FREE]
                least = most = int(goal) - step
            elif step < first:
                least = most = first - step
            elif not (own and (cells[STRUCK] or not step)):
                most = 0
        mask[ids.time_delta + 1 : ids.time_delta + least] = False
        mask[ids.time_delta + most + 1 : ids.inst] = False

    def _spare(self, song: int, slot: int) -> int:
        """Return a lower bound of the tokens left beyond those that the grammar still needs."""
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
