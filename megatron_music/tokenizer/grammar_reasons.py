"""Why a token is not legal: reasons as numbers, for compiled code, and what they say."""

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
