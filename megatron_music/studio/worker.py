"""The studio's worker processes: they compose, read uploaded files, make sound and pictures.

A process takes one job after another from a pipe and answers with events, the last of which is
`done` or `failed`. Jobs and events are dictionaries, as in JSON but for bytes.
"""

import errno
import signal
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from megatron_music.errors import MusicError, MusicFileError, UsageError
from megatron_music.score.metre import COMMON_TIME

if TYPE_CHECKING:
    from megatron_music.generate.song_request import Request

Job = dict[str, Any]
Send = Callable[[dict[str, Any]], None]

SONG_BARS = 8
"""Bars of a song by number."""

STEPS_PER_QUARTER = 12
"""The grid that files are shown and written as scores on; models use their own."""

READING_S = 60.0
READING_BYTES = 512 << 20
"""What reading or playing one file may take."""


class CancelledError(Exception):
    """The job was cancelled while it ran."""


def serve(pipe: Connection, models: dict[str, str], cancelled: Any) -> None:
    """Run jobs until the pipe is closed; `models` are exported folders by name.

    `cancelled` is a shared number: the job of that `turn` is given up.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's
    tasks = {
        "song": compose_songs,
        "compose": compose,
        "read": _read,
        "render": _render,
        "warm": _warm,
    }
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        try:
            result = tasks[job["task"]](job, models, _sender(pipe, job, cancelled))
            pipe.send({"event": "done", "result": result})
        except CancelledError:
            pipe.send({"event": "failed", "reason": "cancelled", "is_ours": False})
        except MusicError as fault:
            pipe.send({"event": "failed", "reason": str(fault), "is_ours": False})
        except Exception as fault:
            is_memory = isinstance(fault, MemoryError) or (
                isinstance(fault, OSError) and fault.errno == errno.ENOMEM
            )
            reason = "it takes too much memory" if is_memory else f"{type(fault).__name__}: {fault}"
            pipe.send({"event": "failed", "reason": reason, "is_ours": not is_memory})


def _sender(pipe: Connection, job: Job, cancelled: Any) -> Send:
    def send(event: dict[str, Any]) -> None:
        """Send an event; raises CancelledError."""
        if cancelled.value == job["turn"]:
            raise CancelledError
        if event:
            pipe.send(event)

    return send


@cache
def _composer(folder: str) -> Any:
    import torch

    from megatron_music.generate.composer import Composer

    torch.set_num_threads(1)  # the server and the other process need the rest
    return Composer.load(Path(folder))


def song_wishes(composer: Any, number: int, bars: int = SONG_BARS) -> dict[str, Any]:
    """Return the wishes of a song by number: `sample --song-id N --bars 8 --begin --end`.

    Of a model with labels the number picks one of them, in turn (`--attribute LABEL`).
    """
    from megatron_music.tokenizer.attributes import UNKNOWN

    knows_place = composer.rows.since_begin >= 0
    every = composer.vocabulary.settings.attributes
    labels = [label for label in every if not label.endswith(f"={UNKNOWN}")]
    return {
        "song_ids": (number,),
        "bars": bars,
        "begin": knows_place,
        "end": knows_place,
        "attributes": (labels[number % len(labels)],) if labels else None,
    }


def compose_songs(job: Job, models: dict[str, str], send: Send) -> list[Job]:
    """Compose songs by number."""
    composer, bars = _composer(models[job["model"]]), job.get("bars", SONG_BARS)
    wishes = [song_wishes(composer, number, bars) for number in job["numbers"]]
    return [song for one in wishes for song in _songs(composer, one, None, send)]


def compose(job: Job, models: dict[str, str], send: Send) -> list[Job]:
    """Compose what a person asks for, from nothing or from a piece."""
    return _songs(_composer(models[job["model"]]), job["wishes"], job["midi"], send)


def as_request(wishes: dict[str, Any]) -> "Request":
    """Return wishes, as JSON has them, as a request; raises UsageError."""
    from megatron_music.generate.song_request import request_of

    return request_of(
        {name: tuple(one) if isinstance(one, list) else one for name, one in wishes.items()}
    )


def _songs(composer: Any, wishes: dict[str, Any], midi: bytes | None, send: Send) -> list[Job]:
    from megatron_music.generate.midi_patch import write_song
    from megatron_music.generate.prepare_prompt import prepared
    from megatron_music.generate.song_report import new_bars, tempo_of

    request = as_request(wishes)
    watch = _BarWatch(composer.vocabulary, send)
    songs = []
    with TemporaryDirectory() as folder:
        begun, path = Path(folder) / "the piece", Path(folder) / "song.mid"
        if midi is not None:
            begun.write_bytes(midi)
        prompt = prepared(
            None if midi is None else begun, request, composer.vocabulary, None, confirmed=True
        )
        for song in composer.compose(request, prompt, watch):
            send({})
            write_song(song, path, prompt, request.tempo_bpm)
            new = None if prompt is None else new_bars(song, prompt)
            facts = facts_of(song.piece, tempo_of(song, request, prompt), path)
            facts |= {"new_bars": new, "labels": list(request.attributes or ())}
            if prompt is not None:
                names = ["" if one is None else prompt.names[one] for one in song.sources]
                facts["tracks"] = _with_own_names(facts["tracks"], names)
            songs.append({"number": song.seed, "midi": path.read_bytes(), "facts": facts})
    return songs


class _BarWatch:
    """Sends each bar of the first song of a batch as soon as it is composed."""

    def __init__(self, vocabulary: Any, send: Send) -> None:
        self._vocabulary = vocabulary
        self._send = send
        self._first_bar = -1
        self._begin(0)

    def _begin(self, first_bar: int) -> None:
        from megatron_music.tokenizer.grammar import Walker

        self._walker = Walker(self._vocabulary)
        self._first_bar = first_bar

    def __call__(self, first_bar: int, tokens: list[int]) -> None:
        """Take the tokens so far of a window that begins at `first_bar` of its piece."""
        from megatron_music.score.general_midi import instrument_title

        if first_bar != self._first_bar or len(tokens) < self._walker.length:
            self._begin(first_bar)
        self._send({})
        for token in tokens[self._walker.length :]:
            if token == self._vocabulary.piece_end:  # the window is complete
                return
            self._walker.advance(token)
            if token != self._vocabulary.bar_end:
                continue
            steps = self._walker.bar_steps  # a song by number has one metre
            track, code, notes = self._walker.newest_track()
            begin, before = (self._walker.bar - 1) * steps, first_bar * steps
            # A note from an earlier bar that ends in this one was open until now.
            newest = [
                [onset + before, end + before, pitch] for onset, end, pitch in notes if end > begin
            ]
            self._send(
                {
                    "event": "bar",
                    "track": track,
                    "instrument": instrument_title(code),
                    "bar": first_bar + self._walker.bar,
                    "bar_steps": steps,
                    "notes": newest,
                }
            )


def facts_of(piece: Any, tempo_bpm: float, midi: Path) -> dict[str, Any]:
    """Return the figures and the notes of a piece, as JSON can hold them; times are in steps.

    `midi` is its file. `steps_per_bar` is that of 4/4; `bar_starts` has where each bar begins, and
    the last one's end, `bar_starts_s` when it sounds. Of a song with words `syllables_by_track`
    has one for each note, "" for none, and after each what ends there (`score.words`).
    """
    from megatron_music.generate.song_report import figures
    from megatron_music.score.midi_reader import read_file

    notes = [
        np.stack([track.onset, track.end, track.pitch], axis=1).tolist() for track in piece.tracks
    ]
    file = read_file(midi)
    ticks = piece.bar_starts * file.ticks_per_quarter // piece.steps_per_quarter
    facts = figures(piece) | {
        "tempo_bpm": tempo_bpm,
        "metre": str(piece.metre_of(0)),
        "steps_per_bar": COMMON_TIME.steps(piece.steps_per_quarter),
        "bar_starts": piece.bar_starts.tolist(),
        "bar_starts_s": file.seconds(ticks).round(3).tolist(),
        "notes_by_track": notes,
    }
    syllables = [track.sung.tolist() for track in piece.tracks]
    if not piece.is_sung:
        syllables = _syllables_in(midi, piece)
    return facts | ({"syllables_by_track": syllables} if any(map(any, syllables)) else {})


def _with_own_names(tracks: list[Job], names: Sequence[str]) -> list[Job]:
    """Return the figures of tracks, those with a name in their file by that name.

    `wish` is what a wish calls such a track; the others are called by their instrument.
    """
    if len(names) != len(tracks):  # a track of the file may lie outside the bars that are shown
        return tracks
    is_own = [
        name and name.casefold() != track["instrument"].casefold()
        for track, name in zip(tracks, names, strict=True)
    ]
    return [
        track | ({"name": name, "wish": name} if own else {})
        for track, name, own in zip(tracks, names, is_own, strict=True)
    ]


def _syllables_in(midi: Path, piece: Any) -> list[list[str]]:
    """Return the syllables that a piece has in its file alone; none if the file has no words.

    A model that knows no words still keeps those of a file.
    """
    from megatron_music.score.bar_layout import in_own_bars
    from megatron_music.score.music_file import parse_sung
    from megatron_music.score.quantize import quantize

    score = parse_sung(midi.read_bytes(), midi.name).score
    if all(track.syllables is None for track in score.tracks):
        return []  # most songs: there is nothing to find on the grid
    words = {
        (track.instrument, onset, pitch): syllable
        for track in quantize(in_own_bars(score), piece.steps_per_quarter).tracks
        if track.syllables is not None
        for onset, pitch, syllable in _sung_notes(track)
    }
    return [
        [words.get((track.instrument, onset, pitch), "") for onset, pitch, _ in _sung_notes(track)]
        for track in piece.tracks
    ]


def _sung_notes(track: Any) -> Iterator[tuple[int, int, str]]:
    """Yield the onset, the pitch and the syllable of each note."""
    columns = (track.onset, track.pitch, track.sung)
    return zip(*(column.tolist() for column in columns), strict=True)


def _read(job: Job, models: dict[str, str], send: Send) -> Job:  # noqa: ARG001
    """Read a file of a person, notation as MIDI from then on; raises MusicFileError."""
    from megatron_music.score.bar_layout import in_own_bars
    from megatron_music.score.midi_source import read_source
    from megatron_music.score.midi_writer import write_midi
    from megatron_music.score.music_file import read_music
    from megatron_music.score.notation import is_score
    from megatron_music.score.quantize import quantize

    with _limited(), TemporaryDirectory() as folder:
        # Of the name that a stranger gave only the kind is used.
        is_notation = is_score(job["name"])
        path = Path(folder) / ("piece" + (Path(job["name"]).suffix.lower() if is_notation else ""))
        path.write_bytes(job["content"])
        try:
            score = read_music(path)
        except MusicFileError as fault:
            raise UsageError(str(fault).replace(str(path), "the file")) from None
        piece = quantize(in_own_bars(score), job["steps_per_quarter"])
        if is_notation:
            write_midi(piece, path)
        facts = facts_of(piece, score.tempo_bpm, path)
        if not is_notation:
            names = [track.name for track in read_source(path).tracks]
            facts["tracks"] = _with_own_names(facts["tracks"], names)
        return {"midi": path.read_bytes(), "facts": facts}


def _warm(job: Job, models: dict[str, str], send: Send) -> None:  # noqa: ARG001
    """Import the modules that the first rendering needs."""
    from megatron_music.generate import roll, song_report  # noqa: F401
    from megatron_music.score import audio, midi_writer, pianoroll  # noqa: F401


def _render(job: Job, models: dict[str, str], send: Send) -> bytes:  # noqa: ARG001
    """Make sound, a picture or a score of a MIDI file."""
    from megatron_music.generate.roll import compressed
    from megatron_music.score.audio import render_audio
    from megatron_music.score.bar_layout import in_own_bars
    from megatron_music.score.music_file import read_music
    from megatron_music.score.musicxml_writer import write_musicxml
    from megatron_music.score.pianoroll import draw_piano_roll
    from megatron_music.score.quantize import quantize

    with _limited(), TemporaryDirectory() as folder:
        midi, made = Path(folder) / "song.mid", Path(folder) / f"song.{job['kind']}"
        midi.write_bytes(job["midi"])
        if job["kind"] in ("png", "musicxml"):
            score = read_music(midi)
            piece = quantize(in_own_bars(score), STEPS_PER_QUARTER)
            if job["kind"] == "png":
                draw_piano_roll(piece, made, job["title"])
            else:
                write_musicxml(piece, made, title=job["title"])
            return made.read_bytes()
        wav = made.with_suffix(".wav")
        render_audio(midi, wav)
        return wav.read_bytes() if job["kind"] == "wav" else compressed(wav)


def _limited() -> Any:
    from contextlib import ExitStack

    from megatron_music.data.workers.limits import mark_worker, memory_limit, time_limit

    mark_worker()
    stack = ExitStack()
    stack.enter_context(memory_limit(READING_BYTES))
    stack.enter_context(time_limit(READING_S))
    return stack
