"""Sheets for many songs at once, compiled: which tokens may come next while one is written.

What is given can only come as it is given. In a slot the rules are those of a bar (see
`grammar.Walker`), and three more: a kept note's end comes at its step, before anything else there;
notes of one's own end within the run of slots; the sheet has to be finished within its tokens.
Levels of velocity are told anew in each slot.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from megatron_music.score.compiled import kernel
from megatron_music.tokenizer.sheet import OpenDensity, Sheet, Slot
from megatron_music.tokenizer.vocabulary import DENSITY_LEVELS, PITCHES, Ids, Vocabulary
from megatron_music.tokenizer.walk_kernel import SILENT, UNTOLD, Cells, Masks

LOCKED = -2
"""The onset of a kept note: not for the song to end."""

OPEN_DENSITY, FIRST_SLOT, OVER = -1, -2, -(1 << 40)
"""Items that are no token; slot k is FIRST_SLOT - k."""

CURSOR, STEP, NOTES, OWN, STRUCK, CLOCK, DUE, LENGTH, VELOCITY, ANNOUNCED = range(10)
COLUMNS = 10
VOICE, BEGINS, ENDS, OPENS_TRACK, NEEDS_NOTE, FULL, FREE, FIRST_DUE, LAST_DUE = range(9)
STEPS, START = 9, 10
_FLAGS = 11


class Sheets(NamedTuple):
    """Sheets of a batch and where their songs stand; the first index is the song's.

    `items` are tokens or what stands for something open; `owed` the least tokens from each on;
    `flags` [song, slot, flag] tell of the slots (FREE: the step from which some note may begin;
    STEPS, START: the bar's length, and its first step in the piece), `locked` and `blocked`
    [song, slot, 128] of their pitches; `dues` [song, due, (step, pitch)] are the ends of kept notes
    of all slots.
    `cells` [song, COLUMNS] and `onsets` [song, 128] are what changes. Levels from `softest` to
    `loudest` may be told, where the vocabulary `has_velocities`.
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
    softest: int
    loudest: int


def new_sheets(
    sheets: Sequence[Sheet],
    vocabulary: Vocabulary,
    max_tokens: int,
    velocities: tuple[int, int] | None = None,
) -> Sheets:
    """Return sheets as the kernels take them, nothing written yet.

    `velocities` are the lowest and the highest level of what is written, None for any.
    """
    softest, loudest = velocities or (0, vocabulary.settings.velocity - 1)
    songs = len(sheets)
    longest = max(len(sheet.items) for sheet in sheets) + 1
    slots = max(len(sheet.slots) for sheet in sheets)
    dues = max(sum(len(slot.dues) for slot in sheet.slots) for sheet in sheets)
    made = Sheets(
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
        softest=softest,
        loudest=loudest,
    )
    for song, sheet in enumerate(sheets):
        _pack(made, song, sheet)
    return made


def _pack(made: Sheets, song: int, sheet: Sheet) -> None:
    least = [i.least_tokens if isinstance(i, Slot) else 1 for i in sheet.items]
    made.owed[song, : len(least)] = np.cumsum(least[::-1])[::-1]
    slots = due = 0
    for place, item in enumerate(sheet.items):
        if isinstance(item, OpenDensity):
            made.items[song, place] = OPEN_DENSITY
        elif isinstance(item, Slot):
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
def take_sheet_tokens(tokens: Cells, sheets: Sheets) -> None:
    """Move each song past its next legal tokens, [songs, any number]; none behind its end."""
    for song in range(tokens.shape[0]):
        cells = sheets.cells[song]
        for place in range(tokens.shape[1]):
            item = sheets.items[song, cells[CURSOR]]
            if item == OVER:
                break
            cells[LENGTH] += 1
            if item > FIRST_SLOT:
                cells[CURSOR] += 1
                _enter(song, sheets)
            elif not _play(tokens[song, place], cells, sheets.onsets[song], sheets):
                cells[CURSOR] += 2
                _enter(song, sheets)


@kernel
def _enter(song: int, sheets: Sheets) -> None:
    """Make ready for the slot at the cursor, if there is one."""
    cells, onsets = sheets.cells[song], sheets.onsets[song]
    item = sheets.items[song, cells[CURSOR]]
    if item > FIRST_SLOT or item == OVER:
        return
    slot = FIRST_SLOT - item
    flags = sheets.flags[song, slot]
    cells[STEP] = cells[STRUCK] = cells[ANNOUNCED] = 0
    cells[VELOCITY] = UNTOLD
    cells[CLOCK] = flags[START]
    cells[DUE] = flags[FIRST_DUE]
    if flags[BEGINS]:
        cells[OWN] = 0
    if flags[OPENS_TRACK]:
        cells[NOTES] = 0
    for pitch in range(PITCHES):
        if sheets.locked[song, slot, pitch]:
            onsets[pitch] = LOCKED
        elif flags[BEGINS] or onsets[pitch] == LOCKED:
            onsets[pitch] = SILENT


@kernel
def _play(token: int, cells: Cells, onsets: Cells, sheets: Sheets) -> bool:
    """Take a token of music; False for what closes the slot."""
    if sheets.ids.note_on <= token < sheets.ids.note_on + PITCHES:
        onsets[token - sheets.ids.note_on] = cells[CLOCK] + cells[STEP]
        cells[NOTES] += 1
        cells[OWN] += 1
        cells[STRUCK] = 1
        cells[ANNOUNCED] = 0
    elif sheets.ids.note_off <= token < sheets.ids.note_off + PITCHES:
        pitch = token - sheets.ids.note_off
        if onsets[pitch] == LOCKED:
            cells[DUE] += 1
        else:
            cells[OWN] -= 1
        onsets[pitch] = SILENT
    elif sheets.ids.time_delta < token < sheets.ids.inst:
        cells[STEP] += token - sheets.ids.time_delta
        cells[STRUCK] = 0
    elif sheets.ids.velocity <= token < sheets.ids.tempo:
        cells[VELOCITY], cells[ANNOUNCED] = token - sheets.ids.velocity, 1
    else:
        return False
    return True


@kernel
def mark_sheet_tokens(sheets: Sheets, masks: Masks) -> None:
    """Write the legal next tokens of each song to masks [songs, vocabulary]."""
    masks[:] = False
    for song in range(masks.shape[0]):
        item = sheets.items[song, sheets.cells[song, CURSOR]]
        if item >= 0:
            masks[song, item] = True
        elif item == OPEN_DENSITY:
            masks[song, sheets.ids.density : sheets.ids.density + DENSITY_LEVELS] = True
        elif item != OVER:
            _mark_slot(song, FIRST_SLOT - item, sheets, masks[song])


@kernel
def _mark_slot(song: int, slot: int, sheets: Sheets, mask: Masks) -> None:
    cells, flags, onsets = sheets.cells[song], sheets.flags[song, slot], sheets.onsets[song]
    step, own, notes, due = cells[STEP], cells[OWN], cells[NOTES], cells[DUE]
    waits = due < flags[LAST_DUE]
    if waits and sheets.dues[song, due, 0] == step:
        mask[sheets.ids.note_off + sheets.dues[song, due, 1]] = True
        return
    now, left = cells[CLOCK] + step, sheets.max_tokens - cells[LENGTH] - 1
    barline = flags[STEPS]
    locked = False
    for pitch in range(PITCHES):
        locked = locked or onsets[pitch] == LOCKED
    if step < barline and not (flags[VOICE] and (own or locked)):
        spare = left - _owed(song, slot, sheets, step, own + 1, 1, notes + 1)
        _mark_beginning(song, slot, spare, sheets, mask)
    if cells[ANNOUNCED]:
        return
    room = (sheets.dues[song, due, 0] if waits else barline) - step
    falls_short = flags[FULL] and not own
    may_end = not flags[FULL] or _owed(song, slot, sheets, step, 0, 0, notes) <= left
    for pitch in range(PITCHES):
        mask[sheets.ids.note_off + pitch] = may_end and 0 <= onsets[pitch] < now and step > 0
    needs = flags[NEEDS_NOTE] and not notes
    for steps in range(1, room + 1):
        silent = (needs or falls_short) and step + steps == barline
        fits = _owed(song, slot, sheets, step + steps, own, 0, notes) <= left
        mask[sheets.ids.time_delta + steps] = fits and not silent
    short = falls_short and step < barline
    if not (waits or needs or short or (flags[ENDS] and own)):
        carried = -own * (sheets.note_tokens - 2) if flags[FULL] else own + int(own > 0)
        behind = sheets.owed[song, cells[CURSOR] + 2] + carried
        mask[sheets.items[song, cells[CURSOR] + 1]] = behind <= left


@kernel
def _mark_beginning(song: int, slot: int, spare: int, sheets: Sheets, mask: Masks) -> None:
    """Mark NOTE_ON and VELOCITY; a note that begins now leaves so many tokens to `spare`."""
    cells, onsets = sheets.cells[song], sheets.onsets[song]
    some = False
    for pitch in range(PITCHES):
        blocked = sheets.blocked[song, slot, pitch] > cells[STEP]
        free = spare >= 0 and onsets[pitch] == SILENT and not blocked
        some = some or free
        told = not sheets.has_velocities or cells[VELOCITY] != UNTOLD
        mask[sheets.ids.note_on + pitch] = free and told
    if some and spare > 0 and not cells[ANNOUNCED]:
        for level in range(sheets.softest, sheets.loudest + 1):
            mask[sheets.ids.velocity + level] = level != cells[VELOCITY]


@kernel
def _owed(
    song: int, slot: int, sheets: Sheets, step: int, own: int, struck: int, notes: int
) -> int:
    """Count the tokens that the shortest way to the end takes from a place in a slot."""
    cells, flags = sheets.cells[song], sheets.flags[song, slot]
    owed: int = sheets.owed[song, cells[CURSOR] + 1]
    if flags[FULL]:
        owed += _owed_by_voice(song, slot, sheets, step, own)
    else:
        owed += own + int(own > 0 and (struck or not step))
    if flags[NEEDS_NOTE] and not notes:
        owed += sheets.note_tokens
    before = step
    for due in range(cells[DUE], flags[LAST_DUE]):
        at = sheets.dues[song, due, 0]
        owed += 1 + int(at > before)
        before = max(before, at)
    return owed


@kernel
def _owed_by_voice(song: int, slot: int, sheets: Sheets, step: int, own: int) -> int:
    """Count the tokens of notes owed in a bar that a voice has to sing up to its barline.

    Those of one note are counted at the end of the run of slots: before it, a note begun takes all
    but two of them off.
    """
    flags, barline = sheets.flags[song, slot], sheets.flags[song, slot, STEPS]
    if own:
        return 1 + int(step < barline) if flags[ENDS] else 2 - sheets.note_tokens
    if step == barline:
        return 0
    before = step
    for due in range(sheets.cells[song, DUE], flags[LAST_DUE]):
        before = max(before, sheets.dues[song, due, 0])
    return int(flags[FREE] > before) + sheets.note_tokens * int(flags[ENDS])
