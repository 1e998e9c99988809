"""Which instrument a part of a score is played by: its name, its sound, its range."""

import re
from collections.abc import Sequence
from typing import Any

from megatron_music.score.general_midi import PROGRAMS
from megatron_music.score.instruments import ALTO, BASS, CHOIR_PROGRAM, DRUMS, SOPRANO, TENOR
from megatron_music.score.midi_columns import DRUM_CHANNEL

_NAMES_OF_VOICES = {
    SOPRANO: "soprano|sopran|cantus|canto|superius|discantus|descant|treble|triplum|dessus",
    ALTO: "alto|alt|altus|contralto|haute-contre|countertenor|mezzo-?soprano",
    TENOR: "tenor|tenore|contratenor|taille|motetus",
    BASS: "bass|bassus|basso|basse|baritone|bariton|baritono|contrabassus",
}
_NUMBER = r"(\s*[\d.]+|\s+[ivx]+|\s*\([^)]*\))*\.?"
_VOICES = {
    re.compile(rf"({names}){_NUMBER}", re.IGNORECASE): code
    for code, names in _NAMES_OF_VOICES.items()
}
_OTHER_VOICES = re.compile(
    rf"(quintus|quinto|sextus|sesto|septimus|settimo|octavus|ottavo|vagans|choir|chorus|coro|voice|"
    rf"vocals?|singer){_NUMBER}",
    re.IGNORECASE,
)
_CENTRES = {SOPRANO: 71, ALTO: 65, TENOR: 59, BASS: 52}
"""Mean pitches of the voices of Bach's chorales."""

_PIANO = 0
_CHOIRS = (_PIANO, CHOIR_PROGRAM, CHOIR_PROGRAM + 1, CHOIR_PROGRAM + 2)
"""Sounds that notation programs give to voices."""

_TITLES = {title.lower(): program for program, title in enumerate(PROGRAMS)}


def instrument_of(part: Any, pitches: Sequence[int], *, is_vocal: bool) -> int:
    """Return the code of a part of music21's; with `is_vocal` an unknown part is a voice."""
    instrument = part.getInstrument(returnDefault=False)
    written = [part.partName, getattr(instrument, "instrumentName", None)]
    names = [str(name).strip() for name in written if name]
    # music21 makes a piano of each kind of piano, and drums of an agogo by their names.
    titled = next((_TITLES[name.lower()] for name in names if name.lower() in _TITLES), None)
    if instrument is not None and (
        instrument.midiChannel == DRUM_CHANNEL
        or (titled is None and getattr(instrument, "percMapPitch", None) is not None)
    ):
        return DRUMS
    program = None if instrument is None else instrument.midiProgram
    if program is None or program in _CHOIRS:
        for name in names:
            for pattern, code in _VOICES.items():
                if pattern.fullmatch(name):
                    return code
            if _OTHER_VOICES.fullmatch(name):
                return nearest_voice(pitches)
    if is_vocal:
        return nearest_voice(pitches)
    if titled is not None:
        return titled
    if program is None:
        program = next((found for name in names if (found := _program(name)) is not None), _PIANO)
    return int(program)


def nearest_voice(pitches: Sequence[int]) -> int:
    """Return the voice that sings in a part's range."""
    mean = sum(pitches) / max(1, len(pitches))
    return min(_CENTRES, key=lambda code: abs(_CENTRES[code] - mean))


def _program(name: str) -> int | None:
    """Return the General MIDI program of an instrument that music21 knows by this name."""
    from music21 import exceptions21, instrument

    try:
        program = instrument.fromString(name).midiProgram
    except (exceptions21.Music21Exception, ValueError):
        return None
    return None if program is None else int(program)
