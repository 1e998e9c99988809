"""The grammar of mmmtrack, compiled: which token may come next, and why not another.

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
asked and within `max_tokens`. `owed_after` counts the tokens of the shortest way to a finished
piece. From every position some legal token lowers that count by one, so a piece that keeps it
within its budget can always be finished. A document with hidden bars (`tokenizer.hidden_bars`) is
legal when the piece it hides is.

`grammar_walk_kernel` takes the tokens. The mask, infill, `check`, `verify` and evaluation all ask
this module.
"""

from megatron_music.score.jit import borrowing_kernel, inlined
from megatron_music.score.words import LONGEST_SYLLABLE_BYTES
from megatron_music.tokenizer import grammar_state as at
from megatron_music.tokenizer import token_kinds as kinds
from megatron_music.tokenizer.grammar_state import Masks, Rules, State
from megatron_music.tokenizer.token_kinds import Cells
from megatron_music.tokenizer.vocabulary import PITCHES

LEGAL, OUTSIDE, MISPLACED, UNAFFORDABLE, NOT_AS_ASKED, SAME_AGAIN, BAR_OVER, VOICE_SINGS = range(8)
SOUNDS, NO_VELOCITY, ALL_SOUND, NOT_SOUNDING, ENDS_AT_STEP_0, ENDS_AT_ONSET = range(8, 14)
NOT_SUNG_HERE, NO_TEXT, LONG_SYLLABLE, LONG_DELTA, LEAVES_NO_NOTE, LEAVES_NOT_FULL = range(14, 20)
TOO_MANY_OF_INSTRUMENT, AFTER_METRE, AFTER_TEMPO, OUT_OF_ORDER, NOT_YET = range(20, 25)
METRE_AFTER_TEMPO, BEFORE_METRE_DUE, BEFORE_HEAD, BEFORE_ATTRIBUTE, SECOND_OF_KIND = range(25, 30)
NO_CHANGE_HERE, UNLIKE_FIRST_TRACK, ENOUGH_BARS, BEFORE_CHANGE, LAST_BAR_SOUNDS = range(30, 35)
LAST_BAR_SILENT, BAR_NOT_FULL, AFTER_CHANGE, STILL_SOUNDS, FEW_BARS, SILENT_TRACK = range(35, 41)
ENOUGH_TRACKS, FEW_TRACKS = range(41, 43)

REASONS = {
    OUTSIDE: "id {id} is outside the vocabulary of {size} tokens",
    MISPLACED: "{token} is not legal {where}; expected {expected}",
    UNAFFORDABLE: "{token} would not leave room to finish within {max_tokens} tokens",
    NOT_AS_ASKED: "{token}, but {asked} was asked for",
    SAME_AGAIN: "{token} again; a {kind} is told where it changes",
    BAR_OVER: "{token} after the last step of the bar; expected it in the next bar",
    VOICE_SINGS: "{token} while the voice sings {sounding}",
    SOUNDS: "{token} while {value} is sounding; expected its NOTE_OFF first",
    NO_VELOCITY: "{token} before the VELOCITY of the bar's first note",
    ALL_SOUND: "{token} while all pitches are sounding",
    NOT_SOUNDING: "{token} while {value} is not sounding; expected its NOTE_ON before",
    ENDS_AT_STEP_0: "{token} at step 0; a note that ends on a barline ends in the bar before",
    ENDS_AT_ONSET: "{token} at the step of its NOTE_ON; expected a TIME_DELTA between",
    NOT_SUNG_HERE: "{token} where no syllable is sung; it stands right after its NOTE_ON",
    NO_TEXT: "{token} before the text of its syllable",
    LONG_SYLLABLE: "{token} after {sung} bytes of its syllable, which would have more than 32",
    LONG_DELTA: "{token} with {room} of {steps} steps left in the bar",
    LEAVES_NO_NOTE: "{token} would leave the track without a note",
    LEAVES_NOT_FULL: "{token} while the voice is silent would leave the bar not full",
    TOO_MANY_OF_INSTRUMENT: "{token} was not asked for, or not so often",
    AFTER_METRE: "{token} after METRE; attributes come first",
    AFTER_TEMPO: "{token} after TEMPO; attributes come first",
    OUT_OF_ORDER: "{token} is out of order or repeated",
    NOT_YET: "{token} was not asked for, or not yet",
    METRE_AFTER_TEMPO: "{token} after TEMPO; METRE comes first",
    BEFORE_METRE_DUE: "{token} before METRE, which comes first",
    BEFORE_HEAD: "{token} before {head}",
    BEFORE_ATTRIBUTE: "{token} before {attribute}",
    SECOND_OF_KIND: "{token} after another {kind}; expected {head}",
    NO_CHANGE_HERE: "{token} where no bar changes; a track's first bar has the {kind} of the head",
    UNLIKE_FIRST_TRACK: "{token} before bar {next_bar}, unlike in the first track",
    ENOUGH_BARS: "{token} after bar {bar}; all tracks must have as many bars",
    BEFORE_CHANGE: "{token} of bar {next_bar} before {change}, as in the first track",
    LAST_BAR_SOUNDS: "{token} of the last bar while {sounding} is sounding",
    LAST_BAR_SILENT: "{token} of the last bar of a track without a note",
    BAR_NOT_FULL: "{token} while the voice is silent, {room} steps before the barline",
    AFTER_CHANGE: "{token} after {changed}; expected BAR_START",
    STILL_SOUNDS: "{token} while {sounding} is sounding",
    FEW_BARS: "{token} after {bar} of {bars} bars",
    SILENT_TRACK: "{token} of a track without a note",
    ENOUGH_TRACKS: "{token} after all the {tracks} tracks asked for",
    FEW_TRACKS: "{token} with {missing} of the tracks asked for missing",
}
"""What each reason says; the fields are those of `grammar.Walker`'s facts."""


@inlined
def refuse(token: int, song: State, rules: Rules) -> int:
    """Return the reason why a token is not legal next; LEGAL if it is."""
    # Compiled code checks no bounds: an id out of range would read what comes after the table.
    if not 0 <= token < len(rules.table.kinds):
        return OUTSIDE
    kind, value = rules.table.kinds[token], rules.table.values[token]
    reason = refuse_form(kind, value, song, rules)
    if reason == LEGAL and rules.max_tokens != at.ENDLESS:
        owed = owed_after(kind, value, song, rules)
        if song.cells[at.LENGTH] + 1 + owed > rules.max_tokens:
            return UNAFFORDABLE
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
        return _refuse_syllable(value, song.cells[at.SUNG])
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
    if not at.PHASES_OF_KIND[kind] >> cells[at.PHASE] & 1:
        return MISPLACED
    if kind == kinds.BAR_START:
        if cells[at.PIECE_BARS] and cells[at.BAR] == cells[at.PIECE_BARS]:
            return ENOUGH_BARS
        none_due = change_due(kinds.METRE, song) == change_due(kinds.TEMPO, song) == at.UNTOLD
        return LEGAL if none_due else BEFORE_CHANGE
    if kind == kinds.TRACK_START:
        if cells[at.PHASE] == at.BETWEEN_TRACKS:
            return ENOUGH_TRACKS if cells[at.TRACKS] == cells[at.ASKED] else LEGAL
        if attributes_due(rules, cells[at.ATTRIBUTE]):
            return BEFORE_ATTRIBUTE
        is_told = cells[at.METRE] != at.UNTOLD and cells[at.TEMPO] != at.UNTOLD
        return LEGAL if is_told else BEFORE_HEAD
    if kind == kinds.TRACK_END:
        if cells[at.CHANGED]:
            return AFTER_CHANGE
        if cells[at.SOUNDING]:
            return STILL_SOUNDS
        if cells[at.BAR] == 0 or cells[at.BAR] < cells[at.PIECE_BARS]:
            return FEW_BARS
        return LEGAL if cells[at.NOTES] else SILENT_TRACK
    if kind in (kinds.METRE, kinds.TEMPO):
        return _refuse_change(kind, value, song, rules)
    if kind == kinds.ATTRIBUTE:
        return _refuse_attribute(value, cells, rules)
    if kind == kinds.PIECE_END and cells[at.TRACKS] < cells[at.ASKED]:
        return FEW_TRACKS
    if kind == kinds.INST and rules.asks and song.wanted[value] <= 0:
        return TOO_MANY_OF_INSTRUMENT
    if kind == kinds.DENSITY and cells[at.LEVEL] not in (-1, value):
        return NOT_AS_ASKED
    return LEGAL


@inlined
def _refuse_in_bar(  # noqa: C901, PLR0912 (a rule a line)
    kind: int, value: int, onsets: Cells, cells: Cells, levels: tuple[int, int, int]
) -> int:
    """Do as `refuse_music` for all tokens but syllables.

    `levels` are how many levels of velocity there are, and the softest and loudest asked for.
    """
    velocities, softest, loudest = levels
    if cells[at.PHASE] != at.IN_BAR or (cells[at.ANNOUNCED] and kind != kinds.NOTE_ON):
        return MISPLACED
    room = cells[at.BAR_STEPS] - cells[at.STEP]
    is_last = cells[at.BAR] + 1 == cells[at.PIECE_BARS]
    must_sing = cells[at.FULL] != 0 and cells[at.SOUNDING] == 0
    if kind == kinds.NOTE_OFF:
        onset = onsets[value]
        if onset == at.SILENT:
            return NOT_SOUNDING
        if cells[at.STEP] == 0:
            return ENDS_AT_STEP_0
        now = cells[at.BAR_START] + cells[at.STEP]
        return ENDS_AT_ONSET if onset == now else LEGAL
    if kind == kinds.TIME_DELTA:
        if value < room:
            return LEGAL
        if value > room:
            return LONG_DELTA
        if is_last and not cells[at.NOTES]:
            return LEAVES_NO_NOTE
        return LEAVES_NOT_FULL if must_sing else LEGAL
    if kind == kinds.BAR_END:
        if is_last and cells[at.SOUNDING]:
            return LAST_BAR_SOUNDS
        if is_last and not cells[at.NOTES]:
            return LAST_BAR_SILENT
        return BAR_NOT_FULL if must_sing and room else LEGAL
    if kind == kinds.NOTE_ON and onsets[value] != at.SILENT:
        return SOUNDS
    if kind == kinds.NOTE_ON and velocities > 0 and cells[at.VELOCITY] == at.UNTOLD:
        return NO_VELOCITY
    if kind == kinds.VELOCITY and value == cells[at.VELOCITY]:
        return SAME_AGAIN
    if kind == kinds.VELOCITY and cells[at.SOUNDING] == PITCHES:
        return ALL_SOUND
    if kind == kinds.VELOCITY and not softest <= value <= loudest:
        return NOT_AS_ASKED
    # A VELOCITY may come only where its note may begin.
    if room == 0:
        return BAR_OVER
    return VOICE_SINGS if cells[at.VOICE] and cells[at.SOUNDING] else LEGAL


@borrowing_kernel
def _refuse_syllable(part_bytes: int, sung: int) -> int:
    if sung == at.NOT_SUNG:
        return NOT_SUNG_HERE
    if not part_bytes:
        return LEGAL if sung > 0 else NO_TEXT
    is_longer = sung + part_bytes > LONGEST_SYLLABLE_BYTES
    return LONG_SYLLABLE if is_longer else LEGAL


@borrowing_kernel
def mark_syllables(sung: int, parts_bytes: Cells, mask: Masks) -> None:
    """Mark the parts that may follow `sung` bytes of a syllable, by their lengths; 0 is a mark."""
    for part in range(len(parts_bytes)):
        mask[part] = _refuse_syllable(parts_bytes[part], sung) == LEGAL


@borrowing_kernel
def change_due(kind: int, song: State) -> int:
    """Return the METRE or TEMPO that the first track has before this bar; UNTOLD if none is due."""
    cells = song.cells
    row, now = (0, cells[at.METRE]) if kind == kinds.METRE else (1, cells[at.TEMPO])
    if cells[at.TRACKS] <= 1 or cells[at.BAR] >= min(cells[at.PIECE_BARS], song.marks.shape[1]):
        return at.UNTOLD
    due: int = song.marks[row, cells[at.BAR]]
    return due if due != now else at.UNTOLD


@borrowing_kernel
def _refuse_attribute(token: int, cells: Cells, rules: Rules) -> int:
    if rules.has_metres and cells[at.METRE] != at.UNTOLD:
        return AFTER_METRE
    if rules.tempos > 0 and cells[at.TEMPO] != at.UNTOLD:
        return AFTER_TEMPO
    if token <= cells[at.ATTRIBUTE]:
        return OUT_OF_ORDER
    due = attributes_due(rules, cells[at.ATTRIBUTE])
    if rules.asks_attributes and (due == 0 or token != rules.attributes[-due]):
        return NOT_YET
    return LEGAL


@borrowing_kernel
def _refuse_change(  # noqa: C901 (a rule a line)
    kind: int, value: int, song: State, rules: Rules
) -> int:
    """Return the reason why METRE or TEMPO cannot be told, at the head or before a bar."""
    cells, is_metre = song.cells, kind == kinds.METRE
    now, asked = (cells[at.METRE], rules.metre) if is_metre else (cells[at.TEMPO], rules.tempo)
    if cells[at.CHANGED] if is_metre else cells[at.CHANGED] & at.TEMPO_TOLD:
        return MISPLACED
    if asked not in (at.UNTOLD, value):
        return NOT_AS_ASKED
    if cells[at.PHASE] == at.HEAD:
        if is_metre and rules.tempos > 0 and cells[at.TEMPO] != at.UNTOLD:
            return METRE_AFTER_TEMPO
        if cells[at.METRE] == at.UNTOLD and not is_metre:
            return BEFORE_HEAD
        if now != at.UNTOLD:
            return SECOND_OF_KIND
        due = attributes_due(rules, cells[at.ATTRIBUTE])
        return BEFORE_ATTRIBUTE if due else LEGAL
    if not is_metre and change_due(kinds.METRE, song) != at.UNTOLD:
        return BEFORE_METRE_DUE
    if cells[at.BAR] in (0, cells[at.PIECE_BARS]):
        return NO_CHANGE_HERE
    if value == now:
        return SAME_AGAIN
    if cells[at.TRACKS] > 1 and value != change_due(kind, song):
        return UNLIKE_FIRST_TRACK
    return LEGAL


@borrowing_kernel
def owed_after(  # noqa: C901 (a kind of token after the other)
    kind: int, value: int, song: State, rules: Rules
) -> int:
    """Count the tokens owed after a token, 0 where it never is what makes a piece too long."""
    cells = song.cells
    bar, step, notes, sounding = cells[at.BAR], cells[at.STEP], cells[at.NOTES], cells[at.SOUNDING]
    if kind == kinds.NOTE_ON:
        return _owed(cells, rules, at.IN_BAR, bar, step, notes + 1, sounding + 1, 1)
    if kind == kinds.VELOCITY:  # its NOTE_ON is owed as well
        return 1 + _owed(cells, rules, at.IN_BAR, bar, step, notes + 1, sounding + 1, 1)
    if kind == kinds.NOTE_OFF:
        # A voice that sings up to each barline owes another note; else an end only saves tokens.
        if not cells[at.FULL]:
            return 0
        return _owed(cells, rules, at.IN_BAR, bar, step, notes, sounding - 1, cells[at.STRUCK])
    if kind == kinds.SYLLABLE:
        return _owed(cells, rules, at.IN_BAR, bar, step, notes, sounding, cells[at.STRUCK])
    if kind == kinds.TIME_DELTA:
        return _owed(cells, rules, at.IN_BAR, bar, step + value, notes, sounding, 0)
    if kind == kinds.BAR_END:
        return _owed(cells, rules, at.BETWEEN_BARS, bar + 1, 0, notes, sounding, 0)
    if kind == kinds.BAR_START:
        return _owed(cells, rules, at.IN_BAR, bar, 0, notes, sounding, cells[at.STRUCK])
    if kind == kinds.TRACK_END:
        return _owed(cells, rules, at.BETWEEN_TRACKS, bar, 0, notes, 0, 0)
    if kind == kinds.TRACK_START:
        # This track, those that are asked for after it, and PIECE_END, less TRACK_START itself.
        tracks = 1 + max(0, cells[at.ASKED] - cells[at.TRACKS] - 1)
        owed: int = tracks * _track_tokens(cells, rules, max(1, cells[at.PIECE_BARS]))
        return owed
    if kind in (kinds.METRE, kinds.TEMPO):
        return _owed_change(cells, rules)
    if kind == kinds.ATTRIBUTE:
        return _owed_piece(cells, rules, value)
    return _owed_piece(cells, rules, cells[at.ATTRIBUTE]) if kind == kinds.PIECE_START else 0


@borrowing_kernel
def attributes_due(rules: Rules, attribute: int) -> int:
    """Count the attributes asked for after one."""
    due = 0
    for token in rules.attributes:
        due += token > attribute
    return due


@borrowing_kernel
def _owed_change(cells: Cells, rules: Rules) -> int:
    """Count the tokens owed after METRE or TEMPO."""
    if cells[at.PHASE] == at.HEAD:
        return _owed_piece(cells, rules, cells[at.ATTRIBUTE]) - 1
    # The count of what is owed reads the cells: they are set as if the token had come, and put
    # back.
    first, changed = cells[at.TRACKS] == 1, cells[at.CHANGED]
    cells[at.CHANGED], cells[at.CHANGES_TOLD] = 1, cells[at.CHANGES_TOLD] + 1
    cells[at.CHANGES] += first
    owed = _owed(
        cells, rules, at.BETWEEN_BARS, cells[at.BAR], 0, cells[at.NOTES], cells[at.SOUNDING], 0
    )
    cells[at.CHANGED], cells[at.CHANGES_TOLD] = changed, cells[at.CHANGES_TOLD] - 1
    cells[at.CHANGES] -= first
    return owed


@borrowing_kernel
def _track_tokens(cells: Cells, rules: Rules, bars: int) -> int:
    # TRACK_START, INST and TRACK_END; BAR_START and BAR_END of each bar; one note, for no track is
    # silent. All tracks have the changes of the first.
    tokens: int = 3 + rules.has_density + 2 * bars + cells[at.CHANGES] + rules.note_tokens
    return tokens


@borrowing_kernel
def _owed_piece(cells: Cells, rules: Rules, attribute: int) -> int:
    """Count the tokens owed at the head of a piece."""
    # At least one track of one bar, where nothing is asked for, and PIECE_END.
    later = max(1, cells[at.ASKED] - cells[at.TRACKS])
    owed: int = later * _track_tokens(cells, rules, max(1, cells[at.PIECE_BARS])) + 1
    owed += attributes_due(rules, attribute)
    return owed + int(cells[at.METRE] == at.UNTOLD) + int(cells[at.TEMPO] == at.UNTOLD)


@borrowing_kernel
def _owed(
    cells: Cells,
    rules: Rules,
    phase: int,
    bar: int,
    step: int,
    notes: int,
    sounding: int,
    struck: int,
) -> int:
    """Count the tokens owed in a track or after it."""
    later = max(0, cells[at.ASKED] - cells[at.TRACKS])
    if phase == at.BETWEEN_TRACKS:
        rest: int = later * _track_tokens(cells, rules, bar) + 1
        return rest
    bars, in_bar = cells[at.PIECE_BARS], int(phase == at.IN_BAR)
    barline = cells[at.BAR_STEPS]
    # While the number of bars is open, the fewest with which this track could end now.
    if not bars and in_bar:
        bars = bar + 1 + int(step == barline and not notes)
    elif not bars:
        bars = bar + int(sounding > 0 or not notes or cells[at.CHANGED])
    # This bar's BAR_END, the bars after it, TRACK_END, and the changes that are still to be told.
    frame = in_bar + 2 * (bars - bar - in_bar) + 1 + cells[at.CHANGES] - cells[at.CHANGES_TOLD]
    after = later * _track_tokens(cells, rules, bars) + 1
    if cells[at.FULL]:
        is_full = step == barline
        is_last = bar + in_bar == bars
        if sounding:  # a NOTE_OFF, and a TIME_DELTA before it unless the piece ends here
            voice = 1 if is_last and is_full else 2
        elif is_last and (is_full or not in_bar):
            voice = 0
        else:
            voice = rules.note_tokens - int(cells[at.VELOCITY] != at.UNTOLD and not is_full)
        sung: int = frame + voice + after
        return sung
    # A note cannot end at the step at which it began, nor at the first step of a bar: a TIME_DELTA
    # comes before its end.
    waits = int(sounding > 0 and (struck or not step))
    owed: int = frame + (0 if notes else rules.note_tokens) + sounding + waits + after
    return owed
