"""`sample`: compose with an exported model."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from megatron_music.cli import show
from megatron_music.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from megatron_music.generate.report import Copies
    from megatron_music.generate.request import Request
    from megatron_music.generate.song import Song
    from megatron_music.score.notes import Piece
    from megatron_music.tokenizer.vocabulary import Vocabulary

_BEGIN, _TASTE, _FILES = "From a piece of yours", "How boldly", "What is written"


def sample(
    model: Annotated[Path, typer.Argument(help="A folder that export wrote.", metavar="HFDIR")],
    output: Annotated[Path, typer.Option("-o", help="The folder to write songs into.")],
    count: Annotated[int, typer.Option("-n", help="How many songs.")] = 4,
    seed: Annotated[int, typer.Option(help="The first song's seed; the next has the next.")] = 7,
    song_id: Annotated[
        list[int] | None,
        typer.Option(help="Compose the song of this number, on any machine; repeat for more."),
    ] = None,
    bars: Annotated[
        int | None, typer.Option(help="Bars of each song; else as in training.")
    ] = None,
    instrument: Annotated[
        list[str] | None,
        typer.Option(
            help="A program 0..127, DRUMS, SOPRANO, ALTO, TENOR or BASS; repeat for more."
        ),
    ] = None,
    tracks: Annotated[int | None, typer.Option(help="How many, of any instruments.")] = None,
    density: Annotated[
        list[str] | None, typer.Option(help="0 (sparse) to 9, or INSTRUMENT=0..9; repeat.")
    ] = None,
    attribute: Annotated[
        list[str] | None, typer.Option(help="As in GENRE=JAZZ, where the data have it; repeat.")
    ] = None,
    full_bars: Annotated[
        bool, typer.Option(help="Let the four voices sing up to each barline, as in chorales.")
    ] = True,
    tempo: Annotated[
        float | None, typer.Option(help="Quarter notes a minute; else 100, or the prompt's.")
    ] = None,
    temperature: Annotated[
        float, typer.Option(help="Above 1 bolder, below 1 safer.", rich_help_panel=_TASTE)
    ] = 1.0,
    top_k: Annotated[
        int, typer.Option(help="Draw from the k likeliest tokens; 0: all.", rich_help_panel=_TASTE)
    ] = 0,
    top_p: Annotated[
        float, typer.Option(help="Draw from the likeliest of this mass.", rich_help_panel=_TASTE)
    ] = 0.95,
    min_p: Annotated[
        float,
        typer.Option(
            help="Leave out what is this much rarer than the likeliest; 0: nothing.",
            rich_help_panel=_TASTE,
        ),
    ] = 0.0,
    prompt: Annotated[
        Path | None,
        typer.Option(help="A MIDI file to begin from.", metavar="FILE.mid", rich_help_panel=_BEGIN),
    ] = None,
    prompt_bars: Annotated[
        int | None, typer.Option(help="Keep its first bars; else all.", rich_help_panel=_BEGIN)
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(help="Leave out this instrument of it; repeat.", rich_help_panel=_BEGIN),
    ] = None,
    fill_bars: Annotated[
        str | None,
        typer.Option(help="Compose these bars anew, as in 4-6,9.", rich_help_panel=_BEGIN),
    ] = None,
    fill_tracks: Annotated[
        list[str] | None,
        typer.Option(help="Compose these instruments anew; repeat.", rich_help_panel=_BEGIN),
    ] = None,
    vary: Annotated[
        float | None,
        typer.Option(help="Compose this share of its bars anew.", rich_help_panel=_BEGIN),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="The training data to look for copies in; else what the run records.",
            metavar="DIR",
        ),
    ] = None,
    wav: Annotated[bool, typer.Option(help="Also write sound.", rich_help_panel=_FILES)] = True,
    png: Annotated[
        bool, typer.Option(help="Also draw the piano roll.", rich_help_panel=_FILES)
    ] = True,
    page: Annotated[
        bool, typer.Option(help="Also write index.html.", rich_help_panel=_FILES)
    ] = True,
) -> None:
    """Compose songs: MIDI, sound, a picture and a report of each, and a page to compare them.

    `megatron-music sample runs/bach-tiny/hf -o music -n 2 --bars 8 --temperature 0.9`

    `megatron-music sample runs/bach-tiny/hf -o music --prompt song.mid --fill-bars 5-6`
    """
    from megatron_music.generate.request import Request, parse_bars

    request = Request(
        count=len(song_id) if song_id else count,
        seed=seed,
        bars=bars,
        instruments=tuple(instrument) if instrument else None,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        tempo_bpm=tempo,
        min_p=min_p,
        tracks=tracks,
        density=tuple(density or ()),
        attributes=tuple(attribute) if attribute else None,
        song_ids=tuple(song_id or ()),
        prompt_bars=prompt_bars,
        drop=tuple(drop or ()),
        fill_bars=parse_bars(fill_bars) if fill_bars else (),
        fill_tracks=tuple(fill_tracks or ()),
        vary=vary,
        full_bars=full_bars,
    )
    _sample(model, output, request, prompt, data, (wav, png, page))


def _sample(
    model: Path,
    output: Path,
    request: "Request",
    prompt: Path | None,
    data: Path | None,
    formats: tuple[bool, bool, bool],
) -> None:
    from megatron_music.generate.album import Formats, write_album, written
    from megatron_music.generate.identity import file_identity, model_identity
    from megatron_music.generate.origin import training_data, unknown_instruments
    from megatron_music.generate.report import Maker
    from megatron_music.score.instruments import instrument_name
    from megatron_music.threads import wait_asleep
    from megatron_music.tokenizer.vocabulary import load_vocabulary

    identity = model_identity(model)
    vocabulary = load_vocabulary(model)
    if prompt is not None and prompt.resolve().parent == output.resolve():
        raise UsageError(f"{prompt} lies in {output}, whose songs are replaced; choose another -o")
    piece, request = _read_prompt(prompt, request, vocabulary)
    if formats[0]:
        _refuse_hours(request, piece, vocabulary)
    maker = Maker(identity, vocabulary.hash, file_identity(prompt) if prompt else "")
    corpus = training_data(model, vocabulary, data)
    played = [instrument_name(track.instrument) for track in piece.tracks] if piece else []
    names = (*(request.instruments or ()), *played)
    for name in unknown_instruments(names, corpus, vocabulary):
        show.say(f"note: the model has never heard {name}; what it writes for it is guessed")
    files = written(output, request, maker, Formats(*formats))
    if files:
        show.say(f"{output} already holds these songs: nothing to do")
    else:
        wait_asleep()
        from megatron_music.generate.composer import Composer

        songs = Composer.load(model).compose(request, piece)
        with show.progress("compose", "songs") as progress:
            files = write_album(
                songs,
                output,
                request,
                maker,
                Formats(*formats),
                prompt=piece,
                copies=_copy_check(corpus, vocabulary),
                progress=progress,
            )
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


def _copy_check(
    corpus: Path | None, vocabulary: "Vocabulary"
) -> "Callable[[Sequence[Song]], list[Copies]]":
    """Return what holds songs against the training music."""

    def check(songs: "Sequence[Song]") -> "list[Copies]":
        import numpy as np

        from megatron_music.data.indexed import IndexedReader
        from megatron_music.evaluate import copying
        from megatron_music.generate.report import Copies

        if corpus is None:
            reason = "the training data are not there; name them with --data"
            return [Copies(None, reason=reason)] * len(songs)
        reader = IndexedReader(corpus / "train")
        whole = [np.array(song.tokens, np.uint16) for song in songs]
        voices = [copying.tracks_alone(tokens, vocabulary) for tokens in whole]
        tracks = np.cumsum([0, *(len(song.piece.tracks) for song in songs)])[:-1]
        together, alone = (
            copying.longest_runs(
                copying.bars_of(documents, vocabulary),
                copying.training_bars(reader, vocabulary, alone=documents is voices),
            )
            for documents in (whole, voices)
        )
        longest = np.maximum.reduceat(alone, tracks)
        return [
            Copies(found, in_a_track, vocabulary.settings.bars)
            for found, in_a_track in zip(together.tolist(), longest.tolist(), strict=True)
        ]

    return check
