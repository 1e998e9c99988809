"""Infill templates of many songs, compiled: which tokens may come next while one is written.

What is given can only come as it is given. In a slot the rules are those of a bar (see
`grammar.Walker`), and three more: a kept note's end comes at its step, before anything else there;
notes of one's own end within the run of slots; the template has to be finished within its tokens.
Levels of velocity are told anew in each slot.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from megatron_music.score.compiled import kernel
from megatron_music.tokenizer.grammar_state import SILENT, UNTOLD, Cells, Masks
from megatron_music.tokenizer.infill_template import BarSlot, InfillTemplate, OpenDensity
from megatron_music.tokenizer.syllable_kernel import NOT_SUNG, mark_syllables, sung_after
from megatron_music.tokenizer.vocabulary import DENSITY_LEVELS, PITCHES, Ids, Vocabulary

LOCKED = -2
"""The onset of a kept note: not for the song to end."""

OPEN_DENSITY, FIRST_SLOT, OVER = -1, -2, -(1 << 40)
"""Items that are no token; slot k is FIRST_SLOT - k."""

CURSOR, STEP, NOTES, OWN, STRUCK, CLOCK, DUE, LENGTH, VELOCITY, ANNOUNCED, SUNG = range(11)
COLUMNS = 11
VOICE, BEGINS, ENDS, OPENS_TRACK, NEEDS_NOTE, FULL, FREE, FIRST_DUE, LAST_DUE = range(9)
STEPS, START = 9, 10
_FLAGS = 11


class TemplateBatch(NamedTuple):
    """Templates of a batch and where their songs stand; the first index is the song's.

    `items` are tokens or what stands for something open; `owed` the least tokens from each on;
    `flags` [song, slot, flag] tell of the slots (FREE: the step from which some note may begin;
    STEPS, START: the bar's length, and its first step in the piece), `locked` and `blocked`
    [song, slot, 128] of their pitches; `dues` [song, due, (step, pitch)] are the ends of kept notes
    of all slots.
    `cells` [song, COLUMNS] and `onsets` [song, 128] are what changes. Levels from `softest` to
    `loudest` may be told, where the vocabulary `has_velocities`, and syllables where it
    `has_lyrics`.
    """

    items: Cells
    owed: Cells
    flags: Cells
    locked: Masks
    blocked: Cells
    dues: Cells
    cells: Cells
    onsets: Cells
    ids: Ids
    max_tokens: int
    note_tokens: int
    has_velocities: bool
    has_lyrics: bool
    softest: int
    loudest: int


def new_templates(
    templates: Sequence[InfillTemplate],
    vocabulary: Vocabulary,
    max_tokens: int,
    velocities: tuple[int, int] | None = None,
) -> TemplateBatch:
    """Return templates as the kernels take them, nothing written yet.

    `velocities` are the lowest and the highest level of what is written, None for any.
    """
    softest, loudest = velocities or (0, vocabulary.settings.velocity - 1)
    songs = len(templates)
    longest = max(len(template.items) for template in templates) + 1
    slots = max(len(template.slots) for template in templates)
    dues = max(sum(len(slot.dues) for slot in template.slots) for template in templates)
    made = TemplateBatch(
        items=np.full((songs, longest), OVER, np.int64),
        owed=np.zeros((songs, longest + 1), np.int64),
        flags=np.zeros((songs, slots, _FLAGS), np.int64),
        locked=np.zeros((songs, slots, PITCHES), np.bool_),
        blocked=np.zeros((songs, slots, PITCHES), np.int64),
        dues=np.zeros((songs, max(dues, 1), 2), np.int64),
        cells=np.zeros((songs, COLUMNS), np.int64),
        onsets=np.full((songs, PITCHES), SILENT, np.int64),
        ids=vocabulary.numbers,
        max_tokens=max_tokens,
        note_tokens=vocabulary.note_tokens,
        has_velocities=vocabulary.has_velocities,
        has_lyrics=vocabulary.has_lyrics,
        softest=softest,
        loudest=loudest,
    )
    for song, template in enumerate(templates):
        _pack(made, song, template)
    return made


def _pack(made: TemplateBatch, song: int, template: InfillTemplate) -> None:
    least = [i.min_tokens if isinstance(i, BarSlot) else 1 for i in template.items]
    # From each item to the end: a song can then tell in one look whether it still affords a token.
    made.owed[song, : len(least)] = np.cumsum(least[::-1])[::-1]
    slots = due = 0
    for place, item in enumerate(template.items):
        if isinstance(item, OpenDensity):
            made.items[song, place] = OPEN_DENSITY
        elif isinstance(item, BarSlot):
            made.items[song, place] = FIRST_SLOT - slots
            flags = (item.is_voice, item.begins, item.ends, item.opens_track, item.needs_note)
            free = item.blocked.min()
            made.flags[song, slots] = (
                *(*flags, item.is_full, free, due, due + len(item.dues)),
                *(item.steps, item.start),
            )
            made.locked[song, slots, list(item.locked)] = True
            made.blocked[song, slots] = item.blocked
            for row in item.dues:
                made.dues[song, due] = row
                due += 1
            slots += 1
        else:
            made.items[song, place] = item


@kernel
def take_template_tokens(tokens: Cells, templates: TemplateBatch) -> None:
    """Move each song past its next legal tokens, [songs, any number]; none behind its end."""
    for song in range(tokens.shape[0]):
        cells = templates.cells[song]
        for place in range(tokens.shape[1]):
            item = templates.items[song, cells[CURSOR]]
            if item == OVER:
                break
            cells[LENGTH] += 1
            if item > FIRST_SLOT:
                cells[CURSOR] += 1
                _enter(song, templates)
            elif not _play(tokens[song, place], cells, templates.onsets[song], templates):
                cells[CURSOR] += 2
                _enter(song, templates)


@kernel
def _enter(song: int, templates: TemplateBatch) -> None:
    """Make ready for the slot at the cursor, if there is one."""
    cells, onsets = templates.cells[song], templates.onsets[song]
    item = templates.items[song, cells[CURSOR]]
    if item > FIRST_SLOT or item == OVER:
        return
    slot = FIRST_SLOT - item
    flags = templates.flags[song, slot]
    cells[STEP] = cells[STRUCK] = cells[ANNOUNCED] = 0
    cells[VELOCITY], cells[SUNG] = UNTOLD, NOT_SUNG
    cells[CLOCK] = flags[START]
    cells[DUE] = flags[FIRST_DUE]
    if flags[BEGINS]:
        cells[OWN] = 0
    if flags[OPENS_TRACK]:
        cells[NOTES] = 0
    for pitch in range(PITCHES):
        if templates.locked[song, slot, pitch]:
            onsets[pitch] = LOCKED
        elif flags[BEGINS] or onsets[pitch] == LOCKED:
            onsets[pitch] = SILENT


@kernel
def _play(token: int, cells: Cells, onsets: Cells, templates: TemplateBatch) -> bool:
    """Take a token of music; False for what closes the slot."""
    sung, cells[SUNG] = cells[SUNG], NOT_SUNG
    if templates.ids.note_on <= token < templates.ids.note_on + PITCHES:
        onsets[token - templates.ids.note_on] = cells[CLOCK] + cells[STEP]
        cells[NOTES] += 1
        cells[OWN] += 1
        cells[STRUCK] = 1
        cells[ANNOUNCED] = 0
        cells[SUNG] = 0 if templates.has_lyrics else NOT_SUNG
    elif templates.ids.note_off <= token < templates.ids.note_off + PITCHES:
        pitch = token - templates.ids.note_off
        if onsets[pitch] == LOCKED:
            cells[DUE] += 1
        else:
            cells[OWN] -= 1
        onsets[pitch] = SILENT
    elif templates.ids.time_delta < token < templates.ids.inst:
        cells[STEP] += token - templates.ids.time_delta
        cells[STRUCK] = 0
    elif templates.ids.velocity <= token < templates.ids.tempo:
        cells[VELOCITY], cells[ANNOUNCED] = token - templates.ids.velocity, 1
    elif templates.ids.syllable <= token < templates.ids.attribute:
        cells[SUNG] = sung_after(token - templates.ids.syllable, sung)
    else:
        return False
    return True


@kernel
def mark_template_tokens(templates: TemplateBatch, masks: Masks) -> None:
    """Write the legal next tokens of each song to masks [songs, vocabulary]."""
    masks[:] = False
    for song in range(masks.shape[0]):
        item = templates.items[song, templates.cells[song, CURSOR]]
        if item >= 0:
            masks[song, item] = True
        elif item == OPEN_DENSITY:
            masks[song, templates.ids.density : templates.ids.density + DENSITY_LEVELS] = True
        elif item != OVER:
            _mark_slot(song, FIRST_SLOT - item, templates, masks[song])


@kernel
def _mark_slot(song: int, slot: int, templates: TemplateBatch, mask: Masks) -> None:
    cells, flags, onsets = (
        templates.cells[song],
        templates.flags[song, slot],
        templates.onsets[song],
    )
    step, own, notes, due = cells[STEP], cells[OWN], cells[NOTES], cells[DUE]
    waits = due < flags[LAST_DUE]
    # The end of a kept note is not the model's to move: at its step it is the only legal token.
    if waits and templates.dues[song, due, 0] == step:
        mask[templates.ids.note_off + templates.dues[song, due, 1]] = True
        return
    now, left = cells[CLOCK] + step, templates.max_tokens - cells[LENGTH] - 1
    barline = flags[STEPS]
    locked = False
    for pitch in range(PITCHES):
        locked = locked or onsets[pitch] == LOCKED
    if step < barline and not (flags[VOICE] and (own or locked)):
        spare = left - _owed(song, slot, templates, step, own + 1, 1, notes + 1)
        _mark_beginning(song, slot, spare, templates, mask)
    sung = cells[SUNG]
    if sung != NOT_SUNG and _owed(song, slot, templates, step, own, cells[STRUCK], notes) <= left:
        mark_syllables(sung, templates.ids.syllable, templates.ids.attribute, mask)
    if cells[ANNOUNCED]:
        return
    # Time may not pass the end of a kept note.
    room = (templates.dues[song, due, 0] if waits else barline) - step
    falls_short = flags[FULL] and not own
    may_end = not flags[FULL] or _owed(song, slot, templates, step, 0, 0, notes) <= left
    for pitch in range(PITCHES):
        mask[templates.ids.note_off + pitch] = may_end and 0 <= onsets[pitch] < now and step > 0
    needs = flags[NEEDS_NOTE] and not notes
    for steps in range(1, room + 1):
        silent = (needs or falls_short) and step + steps == barline
        fits = _owed(song, slot, templates, step + steps, own, 0, notes) <= left
        mask[templates.ids.time_delta + steps] = fits and not silent
    short = falls_short and step < barline
    if not (waits or needs or short or (flags[ENDS] and own)):
        carried = -own * (templates.note_tokens - 2) if flags[FULL] else own + int(own > 0)
        behind = templates.owed[song, cells[CURSOR] + 2] + carried
        mask[templates.items[song, cells[CURSOR] + 1]] = behind <= left


@kernel
def _mark_beginning(
    song: int, slot: int, spare: int, templates: TemplateBatch, mask: Masks
) -> None:
    """Mark NOTE_ON and VELOCITY; a note that begins now leaves so many tokens to `spare`."""
    cells, onsets = templates.cells[song], templates.onsets[song]
    some = False
    for pitch in range(PITCHES):
        blocked = templates.blocked[song, slot, pitch] > cells[STEP]
        free = spare >= 0 and onsets[pitch] == SILENT and not blocked
        some = some or free
        told = not templates.has_velocities or cells[VELOCITY] != UNTOLD
        mask[templates.ids.note_on + pitch] = free and told
    if some and spare > 0 and not cells[ANNOUNCED]:
        for level in range(templates.softest, templates.loudest + 1):
            mask[templates.ids.velocity + level] = level != cells[VELOCITY]


@kernel
def _owed(
    song: int, slot: int, templates: TemplateBatch, step: int, own: int, struck: int, notes: int
) -> int:
    """Count the tokens that the shortest way to the end takes from a place in a slot."""
    cells, flags = templates.cells[song], templates.flags[song, slot]
    owed: int = templates.owed[song, cells[CURSOR] + 1]
    if flags[FULL]:
        owed += _owed_by_voice(song, slot, templates, step, own)
    else:
        owed += own + int(own > 0 and (struck or not step))
    if flags[NEEDS_NOTE] and not notes:
        owed += templates.note_tokens
    before = step
    for due in range(cells[DUE], flags[LAST_DUE]):
        at = templates.dues[song, due, 0]
        owed += 1 + int(at > before)
        before = max(before, at)
    return owed


@kernel
def _owed_by_voice(song: int, slot: int, templates: TemplateBatch, step: int, own: int) -> int:
    """Count the tokens of notes owed in a bar that a voice has to sing up to its barline.

    Those of one note are counted at the end of the run of slots: before it, a note begun takes all
    but two of them off.
    """
    flags, barline = templates.flags[song, slot], templates.flags[song, slot, STEPS]
    if own:
        return 1 + int(step < barline) if flags[ENDS] else 2 - templates.note_tokens
    if step == barline:
        return 0
    before = step
    for due in range(templates.cells[song, DUE], flags[LAST_DUE]):
        before = max(before, templates.dues[song, due, 0])
    return int(flags[FREE] > before) + templates.note_tokens * int(flags[ENDS])
