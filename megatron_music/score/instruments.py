"""Instruments as small integers: 128 General MIDI programs, the drums, four chorale voices.

| code     | name                      | meaning                                   |
|----------|---------------------------|-------------------------------------------|
| 0..127   | "0".."127"                | General MIDI program                      |
| 128      | DRUMS                     | MIDI channel 10, or drums elsewhere       |
| 129..132 | SOPRANO, ALTO, TENOR, BASS | the voices of a chorale, by track name   |
"""

from megatron_music.errors import UsageError

DRUMS = 128
SOPRANO, ALTO, TENOR, BASS = VOICES = (129, 130, 131, 132)
INSTRUMENT_COUNT = 133

_NAMES = (*map(str, range(128)), "DRUMS", "SOPRANO", "ALTO", "TENOR", "BASS")
_CODES = {name: code for code, name in enumerate(_NAMES)}

CHOIR_PROGRAM = 52
"""General MIDI "Choir Aahs": how the voices are written to MIDI files."""


def instrument_name(code: int) -> str:
    """Return the name that follows `INST=` in a token."""
    return _NAMES[code]


def parse_instrument(name: str) -> int:
    """Return the code of `0`..`127`, `DRUMS` or a voice's name; raises UsageError."""
    try:
        return _CODES[name.strip().upper()]
    except KeyError:
        raise UsageError(
            f"no instrument {name!r}; use a General MIDI program 0..127, "
            f"DRUMS, SOPRANO, ALTO, TENOR or BASS"
        ) from None


def general_midi_program(code: int) -> int:
    """Return the program that a track of this instrument is played with."""
    if code in VOICES:
        return CHOIR_PROGRAM
    return 0 if code == DRUMS else code
