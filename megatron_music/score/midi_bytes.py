"""A score as the bytes of a MIDI file: how notation is begun from, and played."""

from megatron_music.score.general_midi import instrument_title
from megatron_music.score.instruments import DRUMS, general_midi_program
from megatron_music.score.karaoke import lyric_events
from megatron_music.score.midi_columns import DRUM_CHANNEL, US_PER_MINUTE
from megatron_music.score.midi_events import (
    METRE,
    NAME,
    NOTE_OFF,
    NOTE_ON,
    PROGRAM,
    TEMPO,
    Chunk,
    Event,
    EventFile,
    meta,
)
from megatron_music.score.notes import Score, Tempo

_PITCHED_CHANNELS = (*range(9), *range(10, 16))
_CLOCKS = bytes((24, 8))
"""Of a metronome's click, and 32nd notes a quarter: as all files have them."""


def midi_bytes(score: Score) -> bytes:
    """Return a MIDI file of a score's notes, words, metres, tempi, a named track each."""
    tempos = score.tempos or (Tempo(0, round(US_PER_MINUTE / score.tempo_bpm)),)
    tempi = [Event(one.onset_ticks, meta(TEMPO, one.quarter_us.to_bytes(3))) for one in tempos]
    metres = [
        Event(
            metre.onset_ticks,
            meta(METRE, bytes((metre.numerator, metre.denominator.bit_length() - 1)) + _CLOCKS),
        )
        for metre in score.metres
    ]
    chunks: list[Chunk | bytes] = [Chunk([*tempi, *metres])]
    for number, track in enumerate(score.tracks):
        channel = _PITCHED_CHANNELS[number % len(_PITCHED_CHANNELS)]
        if track.instrument == DRUMS:
            channel = DRUM_CHANNEL
        name = meta(NAME, instrument_title(track.instrument).encode())
        program = bytes((PROGRAM | channel, general_midi_program(track.instrument)))
        columns = (track.onset, track.end, track.pitch, track.loudness)
        # Sorted by their status too: at one tick notes end (0x80) before others begin (0x90).
        notes = sorted(
            event
            for onset, end, pitch, velocity in zip(*(one.tolist() for one in columns), strict=True)
            for event in (
                Event(onset, bytes((NOTE_ON | channel, pitch, velocity))),
                Event(end, bytes((NOTE_OFF | channel, pitch, 0))),
            )
        )
        # `to_bytes` sorts by ticks alone: at one tick words stay before the notes that sing them.
        chunks.append(Chunk([Event(0, name), Event(0, program), *lyric_events(track), *notes]))
    # The number of chunks, 0 here, is written by `to_bytes`.
    header = (1).to_bytes(2) + bytes(2) + score.ticks_per_quarter.to_bytes(2)
    return EventFile(header, chunks).to_bytes()
