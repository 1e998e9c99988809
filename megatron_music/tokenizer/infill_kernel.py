"""Infill templates of many songs, compiled: which tokens may come next while one is written.

What is given can only come as it is given. In a slot the rules are those of a bar in
`grammar_rules_kernel`, and three more: a kept note's end comes at its step, before anything else
there; new notes end within the run of slots; the template has to be finished within its tokens.
Levels of velocity are told anew in each slot.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from megatron_music.score.jit import borrowing_kernel
from megatron_music.tokenizer import grammar_state as at
from megatron_music.tokenizer import token_kinds as kinds
from megatron_music.tokenizer.grammar_rules_kernel import LEGAL, refuse_music
from megatron_music.tokenizer.grammar_state import Masks, Plan, Rules, State, new_rules, new_state
from megatron_music.tokenizer.grammar_walk_kernel import song_of, take_music
from megatron_music.tokenizer.infill_template import BarSlot, InfillTemplate, OpenDensity
from megatron_music.tokenizer.token_kinds import Cells
from megatron_music.tokenizer.vocabulary import PITCHES, Vocabulary

LOCKED = -2
"""The onset of a kept note: not for the song to end."""

OPEN_DENSITY, FIRST_SLOT, OVER = -1, -2, -(1 << 40)
"""Items that are no token; slot k is FIRST_SLOT - k."""

ANY = -1
"""What stands for each value of a kind of token."""

CURSOR, DUE, OWN = range(3)
_PLACE_COLUMNS = 3
IS_VOICE, BEGINS, ENDS, OPENS_TRACK, NEEDS_NOTE, IS_FULL, FREE, FIRST_DUE, LAST_DUE = range(9)
STEPS, START = 9, 10
_FLAGS = 11


class TemplateBatch(NamedTuple):
    """Templates of a batch and the state of their songs; the first index is the song's.

    `items` are tokens or what stands for something open; `owed` the least tokens from each on;
    `flags` [song, slot, flag] tell of the slots (FREE: the step from which some note may begin;
    STEPS, START: the bar's length, and its first step in the piece), `locked` and `blocked`
    [song, slot, 128] of their pitches; `dues` [song, due, (step, pitch)] are the ends of kept notes
    of all slots.
    `places` [song, (item, due, notes of its own that sound)] and `state` are what changes: within a
    slot a song is one in a bar, whose SOUNDING counts kept notes as well.
    """

    items: Cells
    owed: Cells
    flags: Cells
    locked: Masks
    blocked: Cells
    dues: Cells
    places: Cells
    state: State
    rules: Rules


def new_templates(
    templates: Sequence[InfillTemplate],
    vocabulary: Vocabulary,
    max_tokens: int,
    velocities: tuple[int, int] | None = None,
) -> TemplateBatch:
    """Return templates as the kernels take them, nothing written yet.

    `velocities` are the lowest and the highest level of what is written, None for any.
    """
    songs, plan = len(templates), Plan(max_tokens=max_tokens, velocities=velocities)
    rules = new_rules(vocabulary, plan)
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
        places=np.zeros((songs, _PLACE_COLUMNS), np.int64),
        state=new_state([plan] * songs, rules, most_bars=1),
        rules=rules,
    )
    made.state.cells[:, at.PHASE] = at.IN_BAR
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


@borrowing_kernel
def take_template_tokens(tokens: Cells, templates: TemplateBatch) -> None:
    """Move each song past its next legal tokens, [songs, any number]; none after its end."""
    table = templates.rules.table
    for song in range(tokens.shape[0]):
        one, place = song_of(templates.state, song), templates.places[song]
        for column in range(tokens.shape[1]):
            item = templates.items[song, place[CURSOR]]
            if item == OVER:
                break
            one.cells[at.LENGTH] += 1
            token = tokens[song, column]
            kind = table.kinds[token]
            if item > FIRST_SLOT:
                place[CURSOR] += 1
                _enter(song, templates)
            elif kind >= kinds.NOTE_ON:
                value = table.values[token]
                # Notes of the song's own that sound are counted; kept ones end as they are due.
                if kind == kinds.NOTE_ON:
                    place[OWN] += 1
                elif kind == kinds.NOTE_OFF and one.onsets[value] == LOCKED:
                    place[DUE] += 1
                elif kind == kinds.NOTE_OFF:
                    place[OWN] -= 1
                take_music(kind, value, one, templates.rules)
            else:  # what closes the slot
                place[CURSOR] += 2
                _enter(song, templates)


@borrowing_kernel
def _enter(song: int, templates: TemplateBatch) -> None:
    """Make ready for the slot at the cursor, if there is one."""
    place, one = templates.places[song], song_of(templates.state, song)
    item = templates.items[song, place[CURSOR]]
    if item > FIRST_SLOT or item == OVER:
        return
    slot, cells = FIRST_SLOT - item, one.cells
    flags = templates.flags[song, slot]
    cells[at.STEP] = cells[at.STRUCK] = cells[at.ANNOUNCED] = 0
    cells[at.VELOCITY], cells[at.SUNG] = at.UNTOLD, at.NOT_SUNG
    cells[at.BAR_START], cells[at.BAR_STEPS] = flags[START], flags[STEPS]
    cells[at.VOICE], cells[at.FULL] = flags[IS_VOICE], flags[IS_FULL]
    # As in a piece of one bar, in which the last bar has to have a note.
    cells[at.PIECE_BARS] = flags[NEEDS_NOTE]
    place[DUE] = flags[FIRST_DUE]
    if flags[BEGINS]:  # within a run notes are held from slot to slot
        place[OWN] = 0
    if flags[OPENS_TRACK]:
        cells[at.NOTES] = 0
    cells[at.SOUNDING] = place[OWN]
    for pitch in range(PITCHES):
        if templates.locked[song, slot, pitch]:
            one.onsets[pitch] = LOCKED
            cells[at.SOUNDING] += 1
        elif flags[BEGINS] or one.onsets[pitch] == LOCKED:
            one.onsets[pitch] = at.SILENT


@borrowing_kernel
def mark_template_tokens(templates: TemplateBatch, masks: Masks) -> None:
    """Write the legal next tokens of each song to masks [songs, vocabulary]."""
    masks[:] = False
    for song in range(masks.shape[0]):
        item = templates.items[song, templates.places[song, CURSOR]]
        if item >= 0:
            masks[song, item] = True
        elif item == OPEN_DENSITY:
            _mark_tokens(kinds.DENSITY, ANY, templates.rules, masks[song])
        elif item != OVER:
            _mark_slot(song, FIRST_SLOT - item, templates, masks[song])


@borrowing_kernel
def _mark_tokens(kind: int, value: int, rules: Rules, mask: Masks) -> None:
    """Mark the tokens of a kind with a value, or with ANY."""
    for token in range(len(mask)):
        if rules.table.kinds[token] == kind:
            mask[token] = value in (ANY, rules.table.values[token])


@borrowing_kernel
def _mark_slot(song: int, slot: int, templates: TemplateBatch, mask: Masks) -> None:
    """Mark the music that is legal in a slot, and what closes it."""
    flags, place = templates.flags[song, slot], templates.places[song]
    one, rules = song_of(templates.state, song), templates.rules
    step, due, own = one.cells[at.STEP], place[DUE], place[OWN]
    waits = due < flags[LAST_DUE]
    # The end of a kept note is not the model's to move: at its step it is the only legal token.
    if waits and templates.dues[song, due, 0] == step:
        _mark_tokens(kinds.NOTE_OFF, templates.dues[song, due, 1], rules, mask)
        return
    left = rules.max_tokens - one.cells[at.LENGTH] - 1
    # Time may not pass the end of a kept note.
    room = (templates.dues[song, due, 0] if waits else flags[STEPS]) - step
    for run in range(len(rules.table.runs)):
        kind, first, last = rules.table.runs[run]
        may_come = kind != kinds.VELOCITY or _has_free_pitch(song, slot, templates)
        if may_come and kind >= kinds.NOTE_ON and _owed_after(kind, song, slot, templates) <= left:
            for token in range(first, last):
                value = rules.table.values[token]
                legal = refuse_music(kind, value, one, rules) == LEGAL
                if kind == kinds.TIME_DELTA and legal:
                    owed = _owed(song, slot, templates, step + value, own, 0, one.cells[at.NOTES])
                    legal = value <= room and owed <= left
                elif kind == kinds.NOTE_ON and legal:
                    legal = templates.blocked[song, slot, value] <= step
                elif kind == kinds.NOTE_OFF and legal:
                    legal = one.onsets[value] != LOCKED
                mask[token] = legal
    # The bar after the run is given: a note of the song's own cannot be held into it.
    is_free = not waits and not (flags[ENDS] and own)
    if is_free and refuse_music(kinds.BAR_END, 0, one, rules) == LEGAL:
        carried = -own * (rules.note_tokens - 2) if flags[IS_FULL] else own + int(own > 0)
        owed = templates.owed[song, place[CURSOR] + 2] + carried
        mask[templates.items[song, place[CURSOR] + 1]] = owed <= left


@borrowing_kernel
def _has_free_pitch(song: int, slot: int, templates: TemplateBatch) -> bool:
    """Tell whether some pitch is neither sounding nor taken by a kept note."""
    step = templates.state.cells[song, at.STEP]
    for pitch in range(PITCHES):
        is_silent = templates.state.onsets[song, pitch] == at.SILENT
        if is_silent and templates.blocked[song, slot, pitch] <= step:
            return True
    return False


@borrowing_kernel
def _owed_after(kind: int, song: int, slot: int, templates: TemplateBatch) -> int:
    """Count the tokens owed after a token of music, 0 where each of its kind owes another number.

    Also 0 for an end that only saves tokens.
    """
    cells, own = templates.state.cells[song], templates.places[song, OWN]
    step, notes = cells[at.STEP], cells[at.NOTES]
    if kind in (kinds.NOTE_ON, kinds.VELOCITY):
        owed = _owed(song, slot, templates, step, own + 1, 1, notes + 1)
        return owed + int(kind == kinds.VELOCITY)
    if kind == kinds.SYLLABLE:
        return _owed(song, slot, templates, step, own, cells[at.STRUCK], notes)
    if kind == kinds.NOTE_OFF and cells[at.FULL]:
        return _owed(song, slot, templates, step, 0, 0, notes)
    return 0


@borrowing_kernel
def _owed(
    song: int, slot: int, templates: TemplateBatch, step: int, own: int, struck: int, notes: int
) -> int:
    """Count the tokens that the shortest way to the end takes from a place in a slot."""
    place, flags = templates.places[song], templates.flags[song, slot]
    note_tokens = templates.rules.note_tokens
    owed: int = templates.owed[song, place[CURSOR] + 1]
    if flags[NEEDS_NOTE] and not notes:
        owed += note_tokens
    before = step
    # The ends of kept notes: a NOTE_OFF each, and a TIME_DELTA where time passes before it.
    for due in range(place[DUE], flags[LAST_DUE]):
        ends_at = templates.dues[song, due, 0]
        owed += 1 + int(ends_at > before)
        before = max(before, ends_at)
    if not flags[IS_FULL]:
        owed += own + int(own > 0 and (struck or not step))
    # A voice sings up to the barline. The tokens of one note are counted at the end of the run of
    # slots: before it, a note begun takes all but two of them off.
    elif own:
        owed += 1 + int(step < flags[STEPS]) if flags[ENDS] else 2 - note_tokens
    elif step < flags[STEPS]:
        owed += int(flags[FREE] > before) + note_tokens * int(flags[ENDS])
    return owed
