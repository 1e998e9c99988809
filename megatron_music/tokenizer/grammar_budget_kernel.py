"""How many tokens the shortest way to a finished piece still takes, compiled.

From every position some legal token lowers the count by one, so a piece that keeps the count
within its budget can always be finished.
"""

from megatron_music.score.jit import borrowing_kernel
from megatron_music.tokenizer import token_kinds as kinds
from megatron_music.tokenizer.grammar_state import (
    ASKED,
    ATTRIBUTE,
    BAR,
    BAR_STEPS,
    BETWEEN_BARS,
    BETWEEN_TRACKS,
    CHANGED,
    CHANGES,
    CHANGES_TOLD,
    FULL,
    HEAD,
    IN_BAR,
    METRE,
    NOTES,
    PHASE,
    PIECE_BARS,
    SOUNDING,
    STEP,
    STRUCK,
    TEMPO,
    TRACKS,
    UNTOLD,
    VELOCITY,
    Rules,
    State,
)
from megatron_music.tokenizer.token_kinds import Cells


@borrowing_kernel
def owed_after(  # noqa: C901 (a kind of token after the other)
    kind: int, value: int, song: State, rules: Rules
) -> int:
    """Count the tokens owed after a token, 0 where it never is what makes a piece too long."""
    cells = song.cells
    bar, step, notes, sounding = cells[BAR], cells[STEP], cells[NOTES], cells[SOUNDING]
    if kind == kinds.NOTE_ON:
        return _owed(cells, rules, IN_BAR, bar, step, notes + 1, sounding + 1, 1)
    if kind == kinds.VELOCITY:  # its NOTE_ON is owed as well
        return 1 + _owed(cells, rules, IN_BAR, bar, step, notes + 1, sounding + 1, 1)
    if kind == kinds.NOTE_OFF:
        # A voice that sings up to each barline owes another note; else an end only saves tokens.
        if not cells[FULL]:
            return 0
        return _owed(cells, rules, IN_BAR, bar, step, notes, sounding - 1, cells[STRUCK])
    if kind == kinds.SYLLABLE:
        return _owed(cells, rules, IN_BAR, bar, step, notes, sounding, cells[STRUCK])
    if kind == kinds.TIME_DELTA:
        return _owed(cells, rules, IN_BAR, bar, step + value, notes, sounding, 0)
    if kind == kinds.BAR_END:
        return _owed(cells, rules, BETWEEN_BARS, bar + 1, 0, notes, sounding, 0)
    if kind == kinds.BAR_START:
        return _owed(cells, rules, IN_BAR, bar, 0, notes, sounding, cells[STRUCK])
    if kind == kinds.TRACK_END:
        return _owed(cells, rules, BETWEEN_TRACKS, bar, 0, notes, 0, 0)
    if kind == kinds.TRACK_START:
        # This track, those that are asked for after it, and PIECE_END, less TRACK_START itself.
        tracks = 1 + max(0, cells[ASKED] - cells[TRACKS] - 1)
        owed: int = tracks * _track_tokens(cells, rules, max(1, cells[PIECE_BARS]))
        return owed
    if kind in (kinds.METRE, kinds.TEMPO):
        return _owed_change(cells, rules)
    if kind == kinds.ATTRIBUTE:
        return _owed_piece(cells, rules, value)
    return _owed_piece(cells, rules, cells[ATTRIBUTE]) if kind == kinds.PIECE_START else 0


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
    if cells[PHASE] == HEAD:
        return _owed_piece(cells, rules, cells[ATTRIBUTE]) - 1
    # The count of what is owed reads the cells: they are set as if the token had come, and put
    # back.
    first, changed = cells[TRACKS] == 1, cells[CHANGED]
    cells[CHANGED], cells[CHANGES_TOLD] = 1, cells[CHANGES_TOLD] + 1
    cells[CHANGES] += first
    owed = _owed(cells, rules, BETWEEN_BARS, cells[BAR], 0, cells[NOTES], cells[SOUNDING], 0)
    cells[CHANGED], cells[CHANGES_TOLD] = changed, cells[CHANGES_TOLD] - 1
    cells[CHANGES] -= first
    return owed


@borrowing_kernel
def _track_tokens(cells: Cells, rules: Rules, bars: int) -> int:
    # TRACK_START, INST and TRACK_END; BAR_START and BAR_END of each bar; one note, for no track is
    # silent. All tracks have the changes of the first.
    tokens: int = 3 + rules.has_density + 2 * bars + cells[CHANGES] + rules.note_tokens
    return tokens


@borrowing_kernel
def _owed_piece(cells: Cells, rules: Rules, attribute: int) -> int:
    """Count the tokens owed at the head of a piece."""
    # At least one track of one bar, where nothing is asked for, and PIECE_END.
    later = max(1, cells[ASKED] - cells[TRACKS])
    owed: int = later * _track_tokens(cells, rules, max(1, cells[PIECE_BARS])) + 1
    owed += attributes_due(rules, attribute)
    return owed + int(cells[METRE] == UNTOLD) + int(cells[TEMPO] == UNTOLD)


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
    later = max(0, cells[ASKED] - cells[TRACKS])
    if phase == BETWEEN_TRACKS:
        rest: int = later * _track_tokens(cells, rules, bar) + 1
        return rest
    bars, in_bar = cells[PIECE_BARS], int(phase == IN_BAR)
    barline = cells[BAR_STEPS]
    # While the number of bars is open, the fewest with which this track could end now.
    if not bars and in_bar:
        bars = bar + 1 + int(step == barline and not notes)
    elif not bars:
        bars = bar + int(sounding > 0 or not notes or cells[CHANGED])
    # This bar's BAR_END, the bars after it, TRACK_END, and the changes that are still to be told.
    frame = in_bar + 2 * (bars - bar - in_bar) + 1 + cells[CHANGES] - cells[CHANGES_TOLD]
    after = later * _track_tokens(cells, rules, bars) + 1
    if cells[FULL]:
        is_full = step == barline
        is_last = bar + in_bar == bars
        if sounding:  # a NOTE_OFF, and a TIME_DELTA before it unless the piece ends here
            voice = 1 if is_last and is_full else 2
        elif is_last and (is_full or not in_bar):
            voice = 0
        else:
            voice = rules.note_tokens - int(cells[VELOCITY] != UNTOLD and not is_full)
        sung: int = frame + voice + after
        return sung
    # A note cannot end at the step at which it began, nor at the first step of a bar: a TIME_DELTA
    # comes before its end.
    waits = int(sounding > 0 and (struck or not step))
    owed: int = frame + (0 if notes else rules.note_tokens) + sounding + waits + after
    return owed
