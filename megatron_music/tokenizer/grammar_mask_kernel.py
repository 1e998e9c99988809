"""The grammar for many songs at once, compiled: the same masks as `grammar.Walker`'s.

A song is a row of `State`; taking a token and marking the legal next ones each look at a few
cells of that row, so that a step of a batch costs microseconds. `grammar.Walker` says in words
what each rule means.
"""

from megatron_music.score.compiled import kernel
from megatron_music.score.instruments import INSTRUMENT_COUNT, VOICES
from megatron_music.tokenizer.grammar_state import (
    ANNOUNCED,
    ASKED,
    ATTRIBUTE,
    BAR,
    BAR_START,
    BETWEEN_BARS,
    BETWEEN_TRACKS,
    CHANGED,
    CHANGES,
    CHANGES_TOLD,
    DENSITY,
    END,
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
    NOTES,
    PHASE,
    PIECE_BARS,
    SILENT,
    SOUNDING,
    START,
    STEP,
    STRUCK,
    SUNG,
    TEMPO,
    TEMPO_TOLD,
    TRACKS,
    UNTOLD,
    VELOCITY,
    VOICE,
    Cells,
    Masks,
    Rules,
    State,
)
from megatron_music.tokenizer.syllable_kernel import NOT_SUNG, mark_syllables, sung_after
from megatron_music.tokenizer.vocabulary import DENSITY_LEVELS, PITCHES

_FIRST_VOICE, _LAST_VOICE = VOICES[0], VOICES[-1]


@kernel
def take_tokens(tokens: Cells, state: State, rules: Rules) -> None:
    """Move each song past its next legal tokens, [songs, any number]; none behind its end."""
    for song in range(tokens.shape[0]):
        for place in range(tokens.shape[1]):
            if state.cells[song, PHASE] != END:
                _take(
                    tokens[song, place],
                    state.cells[song],
                    state.onsets[song],
                    state.wanted[song],
                    state.marks[song],
                    rules,
                )


@kernel
def mark_legal(state: State, rules: Rules, masks: Masks) -> None:
    """Write the legal next tokens of each song to masks [songs, vocabulary]."""
    # In place: the caller keeps one array for all steps of a song.
    masks[:] = False
    for song in range(masks.shape[0]):
        cells, mask = state.cells[song], masks[song]
        phase = cells[PHASE]
        if phase == IN_BAR:
            _mark_music(cells, state.onsets[song], rules, mask)
        elif phase == BETWEEN_BARS:
            _mark_bars(cells, state.marks[song], rules, mask)
        elif phase == INSTRUMENT:
            for code in range(INSTRUMENT_COUNT):
                mask[rules.ids.inst + code] = not rules.asks or state.wanted[song, code] > 0
        elif phase == DENSITY:
            for level in range(DENSITY_LEVELS):
                mask[rules.ids.density + level] = cells[LEVEL] in (-1, level)
        else:
            _mark_piece(cells, rules, mask)


@kernel
def _take(
    token: int, cells: Cells, onsets: Cells, wanted: Cells, marks: Cells, rules: Rules
) -> None:
    cells[LENGTH] += 1
    sung, cells[SUNG] = cells[SUNG], NOT_SUNG
    if rules.ids.note_on <= token < rules.ids.note_on + PITCHES:
        onsets[token - rules.ids.note_on] = cells[BAR_START] + cells[STEP]
        cells[NOTES] += 1
        cells[SOUNDING] += 1
        cells[STRUCK] = 1
        cells[ANNOUNCED] = 0
        cells[SUNG] = 0 if rules.has_lyrics else NOT_SUNG
    elif rules.ids.note_off <= token < rules.ids.note_off + PITCHES:
        onsets[token - rules.ids.note_off] = SILENT
        cells[SOUNDING] -= 1
    elif rules.ids.time_delta < token < rules.ids.inst:
        cells[STEP] += token - rules.ids.time_delta
        cells[STRUCK] = 0
    elif rules.ids.inst <= token < rules.ids.inst + INSTRUMENT_COUNT:
        code = token - rules.ids.inst
        cells[PHASE] = DENSITY if rules.has_density else BETWEEN_BARS
        cells[VOICE] = rules.single_voices and _FIRST_VOICE <= code <= _LAST_VOICE
        cells[FULL] = cells[VOICE] and rules.full_bars
        cells[LEVEL] = rules.levels[code]
        wanted[code] -= 1
    elif rules.ids.density <= token < rules.ids.density + DENSITY_LEVELS:
        cells[PHASE] = BETWEEN_BARS
    elif token >= rules.ids.metre:
        _take_option(token, sung, cells, rules)
    else:
        _take_mark(token, cells, marks, rules)


@kernel
def _take_option(token: int, sung: int, cells: Cells, rules: Rules) -> None:
    """Take what only some vocabularies have; `sung` are the bytes of the syllable before."""
    if token >= rules.ids.attribute:
        cells[ATTRIBUTE] = token
    elif token >= rules.ids.syllable:
        cells[SUNG] = sung_after(token - rules.ids.syllable, sung)
    elif token >= rules.ids.tempo:
        _take_change(token - rules.ids.tempo, TEMPO, HEAD_TEMPO, TEMPO_TOLD, cells)
    elif token >= rules.ids.velocity:
        cells[VELOCITY], cells[ANNOUNCED] = token - rules.ids.velocity, 1
    else:
        _take_change(token - rules.ids.metre, METRE, HEAD_METRE, METRE_TOLD, cells)


@kernel
def _take_change(value: int, column: int, head: int, told: int, cells: Cells) -> None:
    """Take a metre or a tempo."""
    cells[column] = value
    if cells[PHASE] == HEAD:
        cells[head] = value
    else:
        cells[CHANGED] |= told
        cells[CHANGES_TOLD] += 1
        cells[CHANGES] += cells[TRACKS] == 1


@kernel
def _take_mark(token: int, cells: Cells, marks: Cells, rules: Rules) -> None:
    if token == rules.ids.piece_start:
        cells[PHASE] = HEAD
    elif token == rules.ids.track_start:
        cells[PHASE] = INSTRUMENT
        cells[TRACKS] += 1
        cells[BAR] = cells[STEP] = cells[NOTES] = cells[BAR_START] = cells[CHANGES_TOLD] = 0
        cells[METRE], cells[TEMPO] = cells[HEAD_METRE], cells[HEAD_TEMPO]
    elif token == rules.ids.bar_start:
        cells[PHASE] = IN_BAR
        cells[CHANGED] = 0
        if cells[TRACKS] == 1 and cells[BAR] < marks.shape[1]:
            # The first track decides the bars of all: later ones are held to what is noted here.
            marks[0, cells[BAR]], marks[1, cells[BAR]] = cells[METRE], cells[TEMPO]
    elif token == rules.ids.bar_end:
        cells[PHASE] = BETWEEN_BARS
        cells[BAR] += 1
        cells[BAR_START] += rules.bar_steps[cells[METRE]]
        cells[STEP] = cells[STRUCK] = 0
        cells[VELOCITY] = UNTOLD
    elif token == rules.ids.track_end:
        cells[PHASE] = BETWEEN_TRACKS
        cells[PIECE_BARS] = cells[BAR]
    elif token == rules.ids.piece_end:
        cells[PHASE] = END


@kernel
def _mark_music(cells: Cells, onsets: Cells, rules: Rules, mask: Masks) -> None:
    """Mark notes, velocities, times and BAR_END in a bar."""
    step, sounding, notes = cells[STEP], cells[SOUNDING], cells[NOTES]
    barline = rules.bar_steps[cells[METRE]]
    now, room = cells[BAR_START] + step, barline - step
    last = cells[BAR] + 1 == cells[PIECE_BARS]
    falls_short = cells[FULL] and not sounding
    # A note is only begun where the tokens left still pay for its end and for all that is owed.
    if room and not (cells[VOICE] and sounding):
        owed = _owed(cells, rules, IN_BAR, cells[BAR], step, notes + 1, sounding + 1, 1)
        _mark_beginning(rules.max_tokens - cells[LENGTH] - 1 - owed, cells, onsets, rules, mask)
    if cells[SUNG] != NOT_SUNG and _affords(cells, rules, step, notes, sounding, cells[STRUCK]):
        mark_syllables(cells[SUNG], rules.ids.syllable, rules.ids.attribute, mask)
    if cells[ANNOUNCED]:
        return
    if (
        sounding
        and step
        and (not cells[FULL] or _affords(cells, rules, step, notes, 0, cells[STRUCK]))
    ):
        for pitch in range(PITCHES):
            mask[rules.ids.note_off + pitch] = onsets[pitch] != SILENT and onsets[pitch] < now
    # What is owed is the same from every step before the barline, so one look decides all of them.
    if room > 1 and _affords(cells, rules, step + 1, notes, sounding, 0):
        for steps in range(1, room):
            mask[rules.ids.time_delta + steps] = True
    if room and not (falls_short or (last and not notes)):
        mask[rules.ids.time_delta + room] = _affords(cells, rules, barline, notes, sounding, 0)
    if not (last and (sounding or not notes)) and not (falls_short and room):
        owed = _owed(cells, rules, BETWEEN_BARS, cells[BAR] + 1, 0, notes, sounding, 0)
        mask[rules.ids.bar_end] = cells[LENGTH] + 1 + owed <= rules.max_tokens


@kernel
def _mark_beginning(spare: int, cells: Cells, onsets: Cells, rules: Rules, mask: Masks) -> None:
    """Mark NOTE_ON and VELOCITY; a note that begins now leaves so many tokens to `spare`."""
    if spare >= 0 and (rules.velocities == 0 or cells[VELOCITY] != UNTOLD):
        for pitch in range(PITCHES):
            mask[rules.ids.note_on + pitch] = onsets[pitch] == SILENT
    if spare > 0 and not cells[ANNOUNCED] and cells[SOUNDING] < PITCHES:
        for level in range(rules.softest, rules.loudest + 1):
            mask[rules.ids.velocity + level] = level != cells[VELOCITY]


@kernel
def _affords(cells: Cells, rules: Rules, step: int, notes: int, sounding: int, struck: int) -> bool:
    """Tell whether the piece could still be finished from another place in this bar."""
    owed = _owed(cells, rules, IN_BAR, cells[BAR], step, notes, sounding, struck)
    fits: bool = cells[LENGTH] + 1 + owed <= rules.max_tokens
    return fits


@kernel
def _mark_bars(cells: Cells, marks: Cells, rules: Rules, mask: Masks) -> None:
    """Mark METRE, TEMPO, BAR_START and TRACK_END between bars."""
    left = rules.max_tokens - cells[LENGTH] - 1
    bar, notes, sounding, bars = cells[BAR], cells[NOTES], cells[SOUNDING], cells[PIECE_BARS]
    metre = tempo = UNTOLD  # those due
    if cells[TRACKS] > 1 and bar < min(bars, marks.shape[1]):
        if rules.has_metres and marks[0, bar] != cells[METRE]:
            metre = marks[0, bar]
        if rules.tempos and marks[1, bar] != cells[TEMPO]:
            tempo = marks[1, bar]
    if (not bars or bar < bars) and metre == UNTOLD and tempo == UNTOLD:
        owed = _owed(cells, rules, IN_BAR, bar, 0, notes, sounding, cells[STRUCK])
        mask[rules.ids.bar_start] = owed <= left
    if bar and (not bars or bar < bars):
        if rules.has_metres and not cells[CHANGED]:
            legal = mask[rules.ids.metre : rules.ids.metre + len(rules.bar_steps)]
            _mark_changes(metre, cells[METRE], rules.metre, left, cells, rules, legal)
        if rules.tempos and not cells[CHANGED] & TEMPO_TOLD and metre == UNTOLD:
            legal = mask[rules.ids.tempo : rules.ids.tempo + rules.tempos]
            _mark_changes(tempo, cells[TEMPO], rules.tempo, left, cells, rules, legal)
    if bar and bar >= bars and notes and not sounding and not cells[CHANGED]:
        owed = _owed(cells, rules, BETWEEN_TRACKS, bar, 0, notes, 0, 0)
        mask[rules.ids.track_end] = owed <= left


@kernel
def _mark_changes(
    due: int, now: int, asked: int, left: int, cells: Cells, rules: Rules, legal: Masks
) -> None:
    """Mark METRE or TEMPO before a later bar: any other in the first track, else the one due.

    `now` is that of the bar before, `asked` that of all bars; `legal` is their part of the mask.
    """
    first, changed = cells[TRACKS] == 1, cells[CHANGED]
    if first and asked != UNTOLD:
        return
    # The count of what is owed reads the cells: they are set as if the token had come, and put
    # back.
    cells[CHANGED], cells[CHANGES_TOLD] = 1, cells[CHANGES_TOLD] + 1
    cells[CHANGES] += first
    bar, notes, sounding = cells[BAR], cells[NOTES], cells[SOUNDING]
    owed = _owed(cells, rules, BETWEEN_BARS, bar, 0, notes, sounding, 0)
    cells[CHANGED], cells[CHANGES_TOLD] = changed, cells[CHANGES_TOLD] - 1
    cells[CHANGES] -= first
    for value in range(len(legal)):
        told = value != now if first else value == due
        legal[value] = told and owed <= left


@kernel
def _mark_piece(cells: Cells, rules: Rules, mask: Masks) -> None:
    """Mark what begins a piece, a track, or ends the piece."""
    left = rules.max_tokens - cells[LENGTH] - 1
    phase, tracks = cells[PHASE], cells[TRACKS]
    if phase == START:
        mask[rules.ids.piece_start] = _owed_piece(rules, tracks, cells, cells[ATTRIBUTE]) <= left
    elif phase == HEAD:
        _mark_head(left, cells, rules, mask)
    elif phase == BETWEEN_TRACKS:
        goes_on = tracks != cells[ASKED]
        mask[rules.ids.track_start] = goes_on and _owed_new_track(cells, rules) <= left
        mask[rules.ids.piece_end] = tracks >= cells[ASKED] and left >= 0


@kernel
def _mark_head(left: int, cells: Cells, rules: Rules, mask: Masks) -> None:
    """Mark attributes, METRE, TEMPO and the first TRACK_START at the head of a piece."""
    due = _due(rules, cells[ATTRIBUTE])
    no_metre, no_tempo = cells[METRE] == UNTOLD, cells[TEMPO] == UNTOLD
    owed = _owed_piece(rules, cells[TRACKS], cells, cells[ATTRIBUTE]) - 1
    if not due and no_metre and (no_tempo or not rules.tempos) and owed <= left:
        for metre in range(len(rules.bar_steps)):
            mask[rules.ids.metre + metre] = rules.metre in (UNTOLD, metre)
    if not due and no_tempo and not no_metre and owed <= left:
        for tempo in range(rules.tempos):
            mask[rules.ids.tempo + tempo] = rules.tempo in (UNTOLD, tempo)
    told = (rules.has_metres and not no_metre) or (rules.tempos and not no_tempo)
    for token in range(max(rules.ids.attribute, cells[ATTRIBUTE] + 1), rules.size):
        if not told and (not rules.asks_attributes or (due and token == rules.attributes[-due])):
            mask[token] = _owed_piece(rules, cells[TRACKS], cells, token) <= left
    opens = not due and not no_metre and not no_tempo
    mask[rules.ids.track_start] = opens and _owed_new_track(cells, rules) <= left


@kernel
def _due(rules: Rules, attribute: int) -> int:
    """Count the attributes asked for behind one."""
    due = 0
    for token in rules.attributes:
        due += token > attribute
    return due


@kernel
def _track_tokens(cells: Cells, rules: Rules, bars: int) -> int:
    tokens: int = 3 + rules.has_density + 2 * bars + cells[CHANGES] + rules.note_tokens
    return tokens


@kernel
def _owed_piece(rules: Rules, tracks: int, cells: Cells, attribute: int) -> int:
    """Count the tokens owed at the head of a piece."""
    bars = max(1, cells[PIECE_BARS])
    later = max(1, cells[ASKED] - tracks)
    owed: int = later * _track_tokens(cells, rules, bars) + 1 + _due(rules, attribute)
    return owed + int(cells[METRE] == UNTOLD) + int(cells[TEMPO] == UNTOLD)


@kernel
def _owed_new_track(cells: Cells, rules: Rules) -> int:
    """Count the tokens owed behind the TRACK_START that could come now."""
    later = max(0, cells[ASKED] - cells[TRACKS] - 1)
    bars = max(1, cells[PIECE_BARS])
    owed: int = (later + 1) * _track_tokens(cells, rules, bars)
    return owed


@kernel
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
    """Count the tokens owed in a track or behind it, as `Position.min_tokens_left` does."""
    later = max(0, cells[ASKED] - cells[TRACKS])
    if phase == BETWEEN_TRACKS:
        rest: int = later * _track_tokens(cells, rules, bar) + 1
        return rest
    bars, in_bar = cells[PIECE_BARS], int(phase == IN_BAR)
    barline = rules.bar_steps[cells[METRE]]
    # While the number of bars is open, the fewest with which this track could end now.
    if not bars and in_bar:
        bars = bar + 1 + int(step == barline and not notes)
    elif not bars:
        bars = bar + int(sounding > 0 or not notes or cells[CHANGED])
    frame = in_bar + 2 * (bars - bar - in_bar) + 1 + cells[CHANGES] - cells[CHANGES_TOLD]
    behind = later * _track_tokens(cells, rules, bars) + 1
    if cells[FULL]:
        full = step == barline
        note = rules.note_tokens - int(cells[VELOCITY] != UNTOLD and not full)
        last = bar + in_bar == bars
        voice: int = frame + _owed_by_voice(last, in_bar, full, sounding, note) + behind
        return voice
    # A note cannot end at the step at which it began, nor at the first step of a bar: a TIME_DELTA
    # comes before its end.
    waits = int(sounding > 0 and (struck or not step))
    owed: int = frame + (0 if notes else rules.note_tokens) + sounding + waits + behind
    return owed


@kernel
def _owed_by_voice(last: bool, in_bar: int, full: bool, sounding: int, note: int) -> int:
    """Count the tokens of notes owed by a voice; the shortest new one takes `note` tokens."""
    if sounding:
        return 1 if last and full else 2
    return 0 if last and (full or not in_bar) else note
