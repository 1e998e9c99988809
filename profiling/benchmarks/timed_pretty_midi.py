"""An encoder as one writes it first: `python timed_pretty_midi.py FOLDER OUTPUT SECONDS`.

Written for this comparison after the way of MMM-JSB: pretty_midi reads, plain Python walks bar by
bar and track by track over 4-bar windows and writes the words of mmmtrack, a window a line. Files
are taken evenly over the folder until the time is up.
"""

import json
import sys
import time
from collections import defaultdict
from pathlib import Path

import pretty_midi
from made_up import midi_files
from spread import spread

STEPS_PER_BAR, WINDOW_BARS = 16, 4

Events = dict[int, dict[int, list[str]]]
"""Words by bar and step."""


def main() -> None:
    limit_s = float(sys.argv[3])
    files = tokens = 0
    start = time.process_time()
    with Path(sys.argv[2]).open("w", encoding="utf-8") as output:
        for path in spread(midi_files(Path(sys.argv[1]))):
            for line in windows(path):
                output.write(line + "\n")
                tokens += line.count(" ") + 1
            files += 1
            if time.process_time() - start > limit_s:
                break
    seconds = time.process_time() - start
    print(json.dumps({"files": files, "cpu_s": seconds, "tokens": tokens}))


def windows(path: Path) -> list[str]:
    midi = pretty_midi.PrettyMIDI(str(path))
    tracks = [(_name(part), events(midi, part)) for part in midi.instruments]
    bars = 1 + max((max(found, default=0) for _, found in tracks), default=0)
    return [
        line
        for first in range(0, bars, WINDOW_BARS)
        if (line := _line(tracks, range(first, first + WINDOW_BARS)))
    ]


def _name(part: pretty_midi.Instrument) -> str:
    return "DRUMS" if part.is_drum else str(part.program)


def events(midi: pretty_midi.PrettyMIDI, part: pretty_midi.Instrument) -> Events:
    """Return the words of a part; a note's end on a barline belongs to the bar it ends."""
    found: Events = defaultdict(lambda: defaultdict(list))
    for note in sorted(part.notes, key=lambda note: (note.start, note.pitch)):
        onset = _step(midi, note.start)
        end = max(_step(midi, note.end), onset + 1)
        bar, step = divmod(onset, STEPS_PER_BAR)
        found[bar][step].append(f"NOTE_ON={note.pitch}")
        bar, step = divmod(end - 1, STEPS_PER_BAR)
        found[bar][step + 1].insert(0, f"NOTE_OFF={note.pitch}")
    return found


def _step(midi: pretty_midi.PrettyMIDI, seconds: float) -> int:
    return round(midi.time_to_tick(seconds) * STEPS_PER_BAR / 4 / midi.resolution)


def _line(tracks: list[tuple[str, Events]], bars: range) -> str:
    words = ["PIECE_START"]
    for name, found in tracks:
        if not any(bar in found for bar in bars):
            continue
        notes = sum(len(at) for bar in bars if bar in found for at in found[bar].values())
        words += ["TRACK_START", f"INST={name}", f"DENSITY={min(notes // 16, 9)}"]
        for bar in bars:
            words += ["BAR_START", *_bar(found.get(bar, {})), "BAR_END"]
        words.append("TRACK_END")
    return " ".join([*words, "PIECE_END"]) if len(words) > 1 else ""


def _bar(at_steps: dict[int, list[str]]) -> list[str]:
    words, now = [], 0
    for step in sorted(at_steps):
        if step > now:
            words.append(f"TIME_DELTA={step - now}")
        words += at_steps[step]
        now = step
    return words


if __name__ == "__main__":
    main()
