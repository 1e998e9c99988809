"""`sample`: compose with an exported model."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from megatron_music.cli import show
from megatron_music.cli.options import command_of
from megatron_music.cli.sample_options import SampleOptions
from megatron_music.errors import UsageError

if TYPE_CHECKING:
    from megatron_music.generate.album import Formats
    from megatron_music.generate.report import Copies, Maker
    from megatron_music.generate.request import Request
    from megatron_music.generate.song import Song
    from megatron_music.score.notes import Piece
    from megatron_music.tokenizer.vocabulary import Vocabulary

# Of `Request`, in a sentence; not in a path.
_ARGUMENT = re.compile(
    r"(?<![-\w/])(?:(?:fill|prompt|full)_(?:bars|tracks)|top_[kp]|min_p)(?![-\w/.])"
)


@command_of(SampleOptions)
def sample(options: SampleOptions) -> None:
    """Compose songs: MIDI, sound, a picture and a report of each, and a page to compare them.

    `megatron-music sample runs/bach-tiny/hf -o music -n 2 --bars 8 --temperature 0.9`

    `megatron-music sample runs/bach-tiny/hf -o music --prompt song.mid --fill-bars 5-6`

    `megatron-music sample runs/bach-tiny/hf -o music --harmonise tune.mid --voice SOPRANO`
    """
    from megatron_music.generate.album import Formats

    with _options_named():
        request = _request(options)
        prompt = _file_to_begin_from(options.prompt, options.harmonise, options.voice)
        formats = Formats(options.wav, options.png, options.page)
        _sample(options.model, options.output, request, prompt, options.data, formats)


def _request(options: SampleOptions) -> "Request":
    """Return the wishes among the options; raises UsageError."""
    from megatron_music.generate.request import Request, parse_bars

    names = (field.name for field in fields(Request))
    given = {name: getattr(options, name, None) for name in names}
    if options.fill_bars is not None:
        given["fill_bars"] = parse_bars(options.fill_bars)
    given |= _numbers(options.count, options.seed, options.song_ids or [])
    wishes = {name: value for name, value in given.items() if value is not None}
    lists = {name: tuple(value) for name, value in wishes.items() if isinstance(value, list)}
    return Request(**(wishes | lists))


def _file_to_begin_from(
    prompt: Path | None, harmonise: Path | None, voice: str | None
) -> Path | None:
    """Return the MIDI file to begin from; raises UsageError where options contradict."""
    if (harmonise is None) != (voice is None):
        raise UsageError(
            "--harmonise FILE.mid and --voice NAME go together: which voice of the file is kept"
        )
    if harmonise is not None and prompt is not None:
        raise UsageError("--prompt and --harmonise each give a piece; leave out one of them")
    return harmonise or prompt


@contextmanager
def _options_named() -> Iterator[None]:
    """Name options in errors that name the arguments of the Python call."""
    try:
        yield
    except UsageError as error:
        error.args = (_ARGUMENT.sub(_option, str(error)),)
        raise


def _option(argument: re.Match[str]) -> str:
    return "--" + argument[0].replace("_", "-")


def _numbers(count: int | None, seed: int | None, song_ids: list[int]) -> dict[str, Any]:
    """Return which songs are asked for, and how many; raises UsageError."""
    if not song_ids:
        return {"count": 4 if count is None else count, "seed": 7 if seed is None else seed}
    if seed is not None:
        raise UsageError("--song-id and --seed each say which song; give one of the two")
    if count not in (None, len(song_ids)):
        raise UsageError(
            f"-n is {count}, but --song-id names {len(song_ids)}; leave out -n, or repeat --song-id"
        )
    return {"count": len(song_ids), "song_ids": tuple(song_ids)}


def _sample(
    model: Path,
    output: Path,
    request: "Request",
    prompt: Path | None,
    data: Path | None,
    formats: "Formats",
) -> None:
    from megatron_music.files import check_writable
    from megatron_music.generate.album import written
    from megatron_music.generate.identity import file_identity, model_identity
    from megatron_music.generate.origin import training_data
    from megatron_music.generate.report import Maker
    from megatron_music.tokenizer.vocabulary import load_vocabulary

    if prompt is None:
        request.refuse_without_piece()
    identity = model_identity(model)
    vocabulary = load_vocabulary(model)
    if prompt is not None and prompt.resolve().parent == output.resolve():
        raise UsageError(f"{prompt} lies in {output}, whose songs are replaced; choose another -o")
    piece, request = _read_prompt(prompt, request, vocabulary)
    if formats.wav:
        _refuse_hours(request, piece, vocabulary)
    maker = Maker(identity, vocabulary.hash, file_identity(prompt) if prompt else "")
    corpus = training_data(model, vocabulary, data)
    _name_unknown(request, piece, corpus, vocabulary)
    check_writable(output)
    files = written(output, request, maker, formats)
    if files:
        show.say(f"{output} already holds these songs: nothing to do")
    else:
        files = _compose(model, output, request, maker, formats, piece, corpus)
    for file in files:
        print(file)


def _read_prompt(
    path: Path | None, request: "Request", vocabulary: "Vocabulary"
) -> "tuple[Piece | None, Request]":
    """Read the piece to begin from; its tempo is the request's where that has none."""
    from dataclasses import replace

    from megatron_music.score.midi import read_midi
    from megatron_music.score.quantize import quantize

    if path is None:
        return None, request
    score = read_midi(path)
    if score.other_metres:
        show.say(f"note: {path} is not in 4/4 throughout; bars are taken as 4/4 all the same")
    tempo = request.tempo_bpm or min(400.0, max(10.0, score.tempo_bpm))
    return quantize(score, vocabulary.settings.steps_per_quarter), replace(request, tempo_bpm=tempo)


def _refuse_hours(request: "Request", piece: "Piece | None", vocabulary: "Vocabulary") -> None:
    """Refuse sound that cannot be rendered before composing it; raises UsageError."""
    from megatron_music.score.audio import LONGEST_MINUTES
    from megatron_music.score.notes import QUARTERS_PER_BAR

    bars = max(request.bars or vocabulary.settings.bars, 0 if piece is None else piece.bars)
    minutes = bars * QUARTERS_PER_BAR / request.tempo
    if minutes > LONGEST_MINUTES:
        raise UsageError(
            f"{bars} bars play for {minutes:.0f} minutes, {LONGEST_MINUTES} can be rendered; "
            "ask for fewer, or give --no-wav"
        )


def _name_unknown(
    request: "Request", piece: "Piece | None", corpus: Path | None, vocabulary: "Vocabulary"
) -> None:
    """Remark on instruments that the model has never heard."""
    from megatron_music.generate.harmonise import around_voice
    from megatron_music.generate.origin import unknown_instruments
    from megatron_music.score.instruments import instrument_name

    if piece is not None and request.voice is not None:
        piece = around_voice(piece, request, vocabulary)
    played = [instrument_name(track.instrument) for track in piece.tracks] if piece else []
    for name in unknown_instruments((*(request.instruments or ()), *played), corpus, vocabulary):
        show.say(f"note: the model has never heard {name}; what it writes for it is guessed")


def _compose(
    model: Path,
    output: Path,
    request: "Request",
    maker: "Maker",
    formats: "Formats",
    piece: "Piece | None",
    corpus: Path | None,
) -> list[Path]:
    from megatron_music.threads import wait_briefly

    show.say(f"loading {model}")
    wait_briefly()
    from megatron_music.evaluate.copy_check import check_copies
    from megatron_music.generate.album import write_album
    from megatron_music.generate.composer import Composer

    composer = Composer.load(model)
    songs = composer.compose(request, piece)

    def copies(songs: "Sequence[Song]") -> "list[Copies]":
        if corpus is not None:
            show.say(f"looking for copies in {corpus}")
        return check_copies(songs, corpus, composer.vocabulary)

    with show.progress("compose", "songs") as progress:
        return write_album(
            songs,
            output,
            request,
            maker,
            formats,
            prompt=piece,
            copies=copies,
            progress=progress,
        )
