"""Instruments as users name them: General MIDI's names, and numbers 1 to 128 as DAWs count.

Our tokens and files have other names (see `instruments`): programmes from 0.
"""

import re
from difflib import get_close_matches

from megatron_music.errors import UsageError
from megatron_music.score.instruments import DRUMS, VOICES, instrument_name

_NAMES = """
    Acoustic Grand Piano, Bright Acoustic Piano, Electric Grand Piano, Honky-tonk Piano,
    Electric Piano 1, Electric Piano 2, Harpsichord, Clavinet,
    Celesta, Glockenspiel, Music Box, Vibraphone, Marimba, Xylophone, Tubular Bells,
    Dulcimer,
    Drawbar Organ, Percussive Organ, Rock Organ, Church Organ, Reed Organ, Accordion,
    Harmonica, Tango Accordion,
    Acoustic Guitar (nylon), Acoustic Guitar (steel), Electric Guitar (jazz), Electric
    Guitar (clean), Electric Guitar (muted), Overdriven Guitar, Distortion Guitar, Guitar
    Harmonics,
    Acoustic Bass, Electric Bass (finger), Electric Bass (pick), Fretless Bass, Slap Bass 1,
    Slap Bass 2, Synth Bass 1, Synth Bass 2,
    Violin, Viola, Cello, Contrabass, Tremolo Strings, Pizzicato Strings, Orchestral Harp,
    Timpani,
    String Ensemble 1, String Ensemble 2, Synth Strings 1, Synth Strings 2, Choir Aahs,
    Voice Oohs, Synth Choir, Orchestra Hit,
    Trumpet, Trombone, Tuba, Muted Trumpet, French Horn, Brass Section, Synth Brass 1, Synth
    Brass 2,
    Soprano Sax, Alto Sax, Tenor Sax, Baritone Sax, Oboe, English Horn, Bassoon, Clarinet,
    Piccolo, Flute, Recorder, Pan Flute, Blown Bottle, Shakuhachi, Whistle, Ocarina,
    Lead 1 (square), Lead 2 (sawtooth), Lead 3 (calliope), Lead 4 (chiff), Lead 5 (charang),
    Lead 6 (voice), Lead 7 (fifths), Lead 8 (bass + lead),
    Pad 1 (new age), Pad 2 (warm), Pad 3 (polysynth), Pad 4 (choir), Pad 5 (bowed), Pad 6
    (metallic), Pad 7 (halo), Pad 8 (sweep),
    FX 1 (rain), FX 2 (soundtrack), FX 3 (crystal), FX 4 (atmosphere), FX 5 (brightness), FX
    6 (goblins), FX 7 (echoes), FX 8 (sci-fi),
    Sitar, Banjo, Shamisen, Koto, Kalimba, Bagpipe, Fiddle, Shanai,
    Tinkle Bell, Agogo, Steel Drums, Woodblock, Taiko Drum, Melodic Tom, Synth Drum, Reverse
    Cymbal,
    Guitar Fret Noise, Breath Noise, Seashore, Bird Tweet, Telephone Ring, Helicopter,
    Applause, Gunshot
"""

PROGRAMS = tuple(" ".join(_NAMES.split()).split(", "))
"""The 128 programmes of General MIDI, in order."""

_USUAL = {
    "piano": 0,
    "electric piano": 4,
    "organ": 16,
    "guitar": 24,
    "electric guitar": 27,
    "electric bass": 33,
    "synth bass": 38,
    "harp": 46,
    "strings": 48,
    "choir": 52,
    "voice": 52,
    "horn": 60,
    "brass": 61,
    "sax": 65,
    "saxophone": 65,
    "synth": 80,
    "synth lead": 80,
    "synth pad": 88,
}
"""What a family's name alone means."""

_WORD = re.compile(r"[a-z0-9]+")
_SHOWN = 6


def instrument_title(code: int) -> str:
    """Return what a person calls an instrument: a voice's name, or General MIDI's."""
    if code in VOICES:
        return instrument_name(code)
    return "Drums" if code == DRUMS else PROGRAMS[code]


def numbered_title(code: int) -> str:
    """Return an instrument's name with its number as DAWs count."""
    return instrument_title(code) + (f" ({code + 1})" if code < len(PROGRAMS) else "")


def find_instrument(name: str) -> int:
    """Return the code of an instrument as a person names it; raises UsageError with a suggestion.

    A number counts from 1. A name may be a part that only one programme has ("vibra").
    """
    words = " ".join(_WORD.findall(name.lower()))
    if words.isdecimal():
        number = int(words)
        if not 1 <= number <= len(PROGRAMS):
            raise UsageError(
                f"no instrument {number}; General MIDI's programmes count from 1 "
                f"({PROGRAMS[0]}) to 128 ({PROGRAMS[-1]})"
            )
        return number - 1
    voices_and_drums = {instrument_name(code).lower(): code for code in (*VOICES, DRUMS)}
    named = {" ".join(_WORD.findall(one.lower())): i for i, one in enumerate(PROGRAMS)}
    known = named | _USUAL | voices_and_drums | {"drum": DRUMS, "drum kit": DRUMS}
    if words in known:
        return known[words]
    # Then any programme with words that begin so: "vibra" is the vibraphone.
    parts = words.split()
    fitting = [
        code
        for full, code in named.items()
        if parts and all(any(word.startswith(part) for word in full.split()) for part in parts)
    ]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        choice = ", ".join(map(numbered_title, fitting[:_SHOWN]))
        more = ", ..." if len(fitting) > _SHOWN else ""
        raise UsageError(f"{name!r} names several instruments: {choice}{more}; name one of them")
    close = get_close_matches(words, known, n=1, cutoff=0.6)
    hint = f"did you mean {instrument_title(known[close[0]])}? " if close else ""
    raise UsageError(
        f"no instrument {name!r}; {hint}Use a name of General MIDI such as piano or acoustic bass, "
        "its number 1 to 128, DRUMS, SOPRANO, ALTO, TENOR or BASS"
    )
