"""The grammar of mmmtrack, compiled: why a token may not come next, and where one leads.

    piece  = PIECE_START attribute* [METRE] [TEMPO] track+ PIECE_END
    track  = TRACK_START INST [DENSITY] bar+ TRACK_END
    bar    = [METRE] [TEMPO] BAR_START (TIME_DELTA | note | NOTE_OFF)* BAR_END
    note   = [VELOCITY] NOTE_ON [SYLLABLE+]

In a vocabulary with metres the one at the head is that of the first bar, and of each bar after it
until another is told before a bar: in every track the same before the same bars. The same holds for
tempi. In a vocabulary with velocities the first note of a bar has one before it, and each further
note that is louder or softer than the last. In one with lyrics a note may have a syllable after it:
parts of at most LONGEST_SYLLABLE_BYTES bytes of text in all, then the end of a word, line or verse,
or none.

Beyond that form, all tracks have the same number of bars, a bar's TIME_DELTAs never add up to more
than the bar, every track sounds, and every note that begins ends: later than it began, inside the
piece, and never at step 0 of a bar (an end on a barline belongs to the bar that it closes).

With a plan, a token is legal only if the plan can still be met after it: any legal choice ends as
asked and within `max_tokens` (`grammar_budget_kernel`). A document with hidden bars
(`tokenizer.hidden_bars`) is legal when the piece it hides is.

The mask, infill, `check`, `verify` and evaluation all ask this module.
"""

from megatron_music.score.instruments import VOICES
from megatron_music.score.jit import borrowing_kernel, inlined
from megatron_music.score.words import LONGEST_SYLLABLE_BYTES
from megatron_music.tokenizer import grammar_reasons as reasons
from megatron_music.tokenizer import token_kinds as kinds
from megatron_music.tokenizer.grammar_budget_kernel import attributes_due, owed_after
from megatron_music.tokenizer.grammar_state import (
    ANNOUNCED,
    ASKED,
    ATTRIBUTE,
    BAR,
    BAR_START,
    BAR_STEPS,
    BETWEEN_BARS,
    BETWEEN_TRACKS,
    CHANGED,
    CHANGES,
    CHANGES_TOLD,
    DENSITY,
    END,
    ENDLESS,
    FULL,
    HEAD,
    HEAD_METRE,
    HEAD_TEMPO,
    IN_BAR,
    INSTRUMENT,
    LENGTH,
    LEVEL,
    METRE,
    METRE_TOLD,
    NOT_SUNG,
    NOTES,
    PHASE,
    PHASES_OF_KIND,
    PIECE_BARS,
    SILENT,
    SOUNDING,
    STEP,
    STRUCK,
    SUNG,
    TEMPO,
    TEMPO_TOLD,
    TRACKS,
    UNTOLD,
    VELOCITY,
    VOICE,
    Masks,
    Rules,
    State,
)
from megatron_music.tokenizer.token_kinds import Cells
from megatron_music.tokenizer.vocabulary import PITCHES

_FIRST_VOICE, _LAST_VOICE = VOICES[0], VOICES[-1]


@borrowing_kernel
def song_of(state: State, song: int) -> State:
    """Return the state of one song, as views."""
    return State(state.cells[song], state.onsets[song], state.wanted[song], state.marks[song])


@borrowing_kernel
def begin(song: State, start: Cells) -> None:
    """Put a song back to where it has not begun; `start` are its cells there."""
    for column in range(len(start)):
        song.cells[column] = start[column]
    song.onsets[:] = SILENT


@inlined
def step(token: int, song: State, rules: Rules) -> int:
    """Take a token if it is legal; return LEGAL, or the reason why it is not."""
    reason = refuse(token, song, rules)
    if reason == reasons.LEGAL:
        take(token, song, rules)
    return reason


@inlined
def refuse(token: int, song: State, rules: Rules) -> int:
    """Return the reason why a token is not legal next; LEGAL if it is."""
    # Compiled code checks no bounds: an id out of range would read what comes after the table.
    if not 0 <= token < len(rules.table.kinds):
        return reasons.OUTSIDE
    kind, value = rules.table.kinds[token], rules.table.values[token]
    reason = refuse_form(kind, value, song, rules)
    if reason == reasons.LEGAL and rules.max_tokens != ENDLESS:
        owed = owed_after(kind, value, song, rules)
        if song.cells[LENGTH] + 1 + owed > rules.max_tokens:
            return reasons.UNAFFORDABLE
    return reason


@inlined
def refuse_form(kind: int, value: int, song: State, rules: Rules) -> int:
    """Return the reason why a token is not legal, however many tokens are left."""
    if kind >= kinds.NOTE_ON or kind == kinds.BAR_END:
        return refuse_music(kind, value, song, rules)
    return _refuse_frame(kind, value, song, rules)


@inlined
def refuse_music(kind: int, value: int, song: State, rules: Rules) -> int:
    """Do as `refuse_form` for tokens in a bar, and for its BAR_END."""
    if kind == kinds.SYLLABLE:
        return _refuse_syllable(value, song.cells[SUNG])
    # Not the whole song and all rules, for nearly every token comes this way: a call passes on each
    # number of each array in them, which took twenty times as long as the work.
    levels = rules.velocities, rules.softest, rules.loudest
    return _refuse_in_bar(kind, value, song.onsets, song.cells, levels)


@inlined
def _refuse_frame(  # noqa: C901, PLR0912 (a rule a line)
    kind: int, value: int, song: State, rules: Rules
) -> int:
    """Do as `refuse_form` for tokens outside of bars."""
    cells = song.cells
    if not PHASES_OF_KIND[kind] >> cells[PHASE] & 1:
        return reasons.MISPLACED
    if kind == kinds.BAR_START:
        if cells[PIECE_BARS] and cells[BAR] == cells[PIECE_BARS]:
            return reasons.ENOUGH_BARS
        none_due = change_due(kinds.METRE, song) == change_due(kinds.TEMPO, song) == UNTOLD
        return reasons.LEGAL if none_due else reasons.BEFORE_CHANGE
    if kind == kinds.TRACK_START:
        if cells[PHASE] == BETWEEN_TRACKS:
            return reasons.ENOUGH_TRACKS if cells[TRACKS] == cells[ASKED] else reasons.LEGAL
        if attributes_due(rules, cells[ATTRIBUTE]):
            return reasons.BEFORE_ATTRIBUTE
        is_told = cells[METRE] != UNTOLD and cells[TEMPO] != UNTOLD
        return reasons.LEGAL if is_told else reasons.BEFORE_HEAD
    if kind == kinds.TRACK_END:
        if cells[CHANGED]:
            return reasons.AFTER_CHANGE
        if cells[SOUNDING]:
            return reasons.STILL_SOUNDS
        if cells[BAR] == 0 or cells[BAR] < cells[PIECE_BARS]:
            return reasons.FEW_BARS
        return reasons.LEGAL if cells[NOTES] else reasons.SILENT_TRACK
    if kind in (kinds.METRE, kinds.TEMPO):
        return _refuse_change(kind, value, song, rules)
    if kind == kinds.ATTRIBUTE:
        return _refuse_attribute(value, cells, rules)
    if kind == kinds.PIECE_END and cells[TRACKS] < cells[ASKED]:
        return reasons.FEW_TRACKS
    if kind == kinds.INST and rules.asks and song.wanted[value] <= 0:
        return reasons.TOO_MANY_OF_INSTRUMENT
    if kind == kinds.DENSITY and cells[LEVEL] not in (-1, value):
        return reasons.NOT_AS_ASKED
    return reasons.LEGAL


@inlined
def _refuse_in_bar(  # noqa: C901, PLR0912 (a rule a line)
    kind: int, value: int, onsets: Cells, cells: Cells, levels: tuple[int, int, int]
) -> int:
    """Do as `refuse_music` for all tokens but syllables.

    `levels` are how many levels of velocity there are, and the softest and loudest asked for.
    """
    velocities, softest, loudest = levels
    if cells[PHASE] != IN_BAR or (cells[ANNOUNCED] and kind != kinds.NOTE_ON):
        return reasons.MISPLACED
    room = cells[BAR_STEPS] - cells[STEP]
    is_last = cells[BAR] + 1 == cells[PIECE_BARS]
    must_sing = cells[FULL] != 0 and cells[SOUNDING] == 0
    if kind == kinds.NOTE_OFF:
        onset = onsets[value]
        if onset == SILENT:
            return reasons.NOT_SOUNDING
        if cells[STEP] == 0:
            return reasons.ENDS_AT_STEP_0
        now = cells[BAR_START] + cells[STEP]
        return reasons.ENDS_AT_ONSET if onset == now else reasons.LEGAL
    if kind == kinds.TIME_DELTA:
        if value < room:
            return reasons.LEGAL
        if value > room:
            return reasons.LONG_DELTA
        if is_last and not cells[NOTES]:
            return reasons.LEAVES_NO_NOTE
        return reasons.LEAVES_NOT_FULL if must_sing else reasons.LEGAL
    if kind == kinds.BAR_END:
        if is_last and cells[SOUNDING]:
            return reasons.LAST_BAR_SOUNDS
        if is_last and not cells[NOTES]:
            return reasons.LAST_BAR_SILENT
        return reasons.BAR_NOT_FULL if must_sing and room else reasons.LEGAL
    if kind == kinds.NOTE_ON and onsets[value] != SILENT:
        return reasons.SOUNDS
    if kind == kinds.NOTE_ON and velocities > 0 and cells[VELOCITY] == UNTOLD:
        return reasons.NO_VELOCITY
    if kind == kinds.VELOCITY and value == cells[VELOCITY]:
        return reasons.SAME_AGAIN
    if kind == kinds.VELOCITY and cells[SOUNDING] == PITCHES:
        return reasons.ALL_SOUND
    if kind == kinds.VELOCITY and not softest <= value <= loudest:
        return reasons.NOT_AS_ASKED
    # A VELOCITY may come only where its note may begin.
    if room == 0:
        return reasons.BAR_OVER
    return reasons.VOICE_SINGS if cells[VOICE] and cells[SOUNDING] else reasons.LEGAL


@borrowing_kernel
def _refuse_syllable(part_bytes: int, sung: int) -> int:
    if sung == NOT_SUNG:
        return reasons.NOT_SUNG_HERE
    if not part_bytes:
        return reasons.LEGAL if sung > 0 else reasons.NO_TEXT
    is_longer = sung + part_bytes > LONGEST_SYLLABLE_BYTES
    return reasons.LONG_SYLLABLE if is_longer else reasons.LEGAL


@borrowing_kernel
def mark_syllables(sung: int, parts_bytes: Cells, mask: Masks) -> None:
    """Mark the parts that may follow `sung` bytes of a syllable, by their lengths; 0 is a mark."""
    for part in range(len(parts_bytes)):
        mask[part] = _refuse_syllable(parts_bytes[part], sung) == reasons.LEGAL


@borrowing_kernel
def sung_after(part_bytes: int, sung: int) -> int:
    """Return the bytes of a syllable of `sung` bytes after a part of it; a mark (0) ends it."""
    return sung + part_bytes if part_bytes else NOT_SUNG


@borrowing_kernel
def change_due(kind: int, song: State) -> int:
    """Return the METRE or TEMPO that the first track has before this bar; UNTOLD if none is due."""
    cells = song.cells
    row, now = (0, cells[METRE]) if kind == kinds.METRE else (1, cells[TEMPO])
    if cells[TRACKS] <= 1 or cells[BAR] >= min(cells[PIECE_BARS], song.marks.shape[1]):
        return UNTOLD
    due: int = song.marks[row, cells[BAR]]
    return due if due != now else UNTOLD


@borrowing_kernel
def _refuse_attribute(token: int, cells: Cells, rules: Rules) -> int:
    if rules.has_metres and cells[METRE] != UNTOLD:
        return reasons.AFTER_METRE
    if rules.tempos > 0 and cells[TEMPO] != UNTOLD:
        return reasons.AFTER_TEMPO
    if token <= cells[ATTRIBUTE]:
        return reasons.OUT_OF_ORDER
    due = attributes_due(rules, cells[ATTRIBUTE])
    if rules.asks_attributes and (due == 0 or token != rules.attributes[-due]):
        return reasons.NOT_YET
    return reasons.LEGAL


@borrowing_kernel
def _refuse_change(  # noqa: C901 (a rule a line)
    kind: int, value: int, song: State, rules: Rules
) -> int:
    """Return the reason why METRE or TEMPO cannot be told, at the head or before a bar."""
    cells, is_metre = song.cells, kind == kinds.METRE
    now, asked = (cells[METRE], rules.metre) if is_metre else (cells[TEMPO], rules.tempo)
    if cells[CHANGED] if is_metre else cells[CHANGED] & TEMPO_TOLD:
        return reasons.MISPLACED
    if asked not in (UNTOLD, value):
        return reasons.NOT_AS_ASKED
    if cells[PHASE] == HEAD:
        if is_metre and rules.tempos > 0 and cells[TEMPO] != UNTOLD:
            return reasons.METRE_AFTER_TEMPO
        if cells[METRE] == UNTOLD and not is_metre:
            return reasons.BEFORE_HEAD
        if now != UNTOLD:
            return reasons.SECOND_OF_KIND
        due = attributes_due(rules, cells[ATTRIBUTE])
        return reasons.BEFORE_ATTRIBUTE if due else reasons.LEGAL
    if not is_metre and change_due(kinds.METRE, song) != UNTOLD:
        return reasons.BEFORE_METRE_DUE
    if cells[BAR] in (0, cells[PIECE_BARS]):
        return reasons.NO_CHANGE_HERE
    if value == now:
        return reasons.SAME_AGAIN
    if cells[TRACKS] > 1 and value != change_due(kind, song):
        return reasons.UNLIKE_FIRST_TRACK
    return reasons.LEGAL


@inlined
def take(token: int, song: State, rules: Rules) -> None:
    """Move a song past a legal token."""
    cells = song.cells
    kind, value = rules.table.kinds[token], rules.table.values[token]
    cells[LENGTH] += 1
    if kind >= kinds.NOTE_ON:
        take_music(kind, value, song, rules)
    elif kind == kinds.BAR_END:
        cells[PHASE] = BETWEEN_BARS
        cells[BAR] += 1
        cells[BAR_START] += cells[BAR_STEPS]
        cells[STEP] = cells[STRUCK] = 0
        cells[VELOCITY], cells[SUNG] = UNTOLD, NOT_SUNG
    else:
        _take_frame(kind, value, song, rules)


@inlined
def take_music(kind: int, value: int, song: State, rules: Rules) -> None:
    """Move a song past a legal token in a bar."""
    cells = song.cells
    sung, cells[SUNG] = cells[SUNG], NOT_SUNG
    if kind == kinds.NOTE_ON:
        song.onsets[value] = cells[BAR_START] + cells[STEP]
        cells[NOTES] += 1
        cells[SOUNDING] += 1
        cells[STRUCK] = 1
        cells[ANNOUNCED] = 0
        cells[SUNG] = 0 if rules.has_lyrics else NOT_SUNG
    elif kind == kinds.NOTE_OFF:
        song.onsets[value] = SILENT
        cells[SOUNDING] -= 1
    elif kind == kinds.TIME_DELTA:
        cells[STEP] += value
        cells[STRUCK] = 0
    elif kind == kinds.VELOCITY:
        cells[VELOCITY], cells[ANNOUNCED] = value, 1
    else:
        cells[SUNG] = sung_after(value, sung)


@inlined
def _take_frame(kind: int, value: int, song: State, rules: Rules) -> None:
    """Take a token outside of bars."""
    cells = song.cells
    if kind == kinds.BAR_START:
        cells[PHASE] = IN_BAR
        cells[CHANGED] = 0
        cells[BAR_STEPS] = rules.bar_steps[cells[METRE]]
        # The first track decides the bars of all: later ones are compared with its marks.
        if cells[TRACKS] == 1 and cells[BAR] < song.marks.shape[1]:
            song.marks[0, cells[BAR]], song.marks[1, cells[BAR]] = cells[METRE], cells[TEMPO]
    elif kind == kinds.TRACK_START:
        cells[PHASE] = INSTRUMENT
        cells[TRACKS] += 1
        cells[BAR] = cells[STEP] = cells[NOTES] = cells[BAR_START] = cells[CHANGES_TOLD] = 0
        cells[METRE], cells[TEMPO] = cells[HEAD_METRE], cells[HEAD_TEMPO]
        cells[BAR_STEPS] = rules.bar_steps[cells[METRE]]
    elif kind == kinds.INST:
        cells[PHASE] = DENSITY if rules.has_density else BETWEEN_BARS
        cells[VOICE] = rules.single_voices and _FIRST_VOICE <= value <= _LAST_VOICE
        cells[FULL] = cells[VOICE] and rules.full_bars
        cells[LEVEL] = rules.levels[value]
        song.wanted[value] -= 1
    elif kind == kinds.DENSITY:
        cells[PHASE] = BETWEEN_BARS
    elif kind == kinds.TRACK_END:
        cells[PHASE] = BETWEEN_TRACKS
        cells[PIECE_BARS] = cells[BAR]
    elif kind == kinds.METRE:
        _take_change(value, METRE, HEAD_METRE, METRE_TOLD, cells)
    elif kind == kinds.TEMPO:
        _take_change(value, TEMPO, HEAD_TEMPO, TEMPO_TOLD, cells)
    elif kind == kinds.ATTRIBUTE:
        cells[ATTRIBUTE] = value
    else:
        cells[PHASE] = HEAD if kind == kinds.PIECE_START else END


@borrowing_kernel
def _take_change(value: int, column: int, head: int, told: int, cells: Cells) -> None:
    """Take a metre or a tempo."""
    cells[column] = value
    if cells[PHASE] == HEAD:
        cells[head] = value
    else:
        cells[CHANGED] |= told
        cells[CHANGES_TOLD] += 1
        cells[CHANGES] += cells[TRACKS] == 1
