"""`sample`: compose with an exported model."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from megatron_music.cli import sample_text, show
from megatron_music.cli.options import command_of
from megatron_music.cli.sample_options import (
    FEWEST_SONGS,
    USUAL_SONGS,
    SampleOptions,
    words_for_more,
)
from megatron_music.errors import UsageError

if TYPE_CHECKING:
    from megatron_music.generate.album import Formats
    from megatron_music.generate.prompt import Prompt
    from megatron_music.generate.song import Song
    from megatron_music.generate.song_report import Copies
    from megatron_music.generate.song_request import Request

_ARGUMENT = re.compile(r"`(\w+)`")
_OPTIONS = {
    "count": "-n",
    "tempo_bpm": "--tempo",
    "song_ids": "--song-id",
    "instruments": "--instrument",
    "roles": "--as",
}
"""The options of arguments of `Request` that have another name."""


@command_of(SampleOptions)
def sample(options: SampleOptions) -> None:
    """Compose songs: MIDI, sound, a picture and a report of each, and a page to compare them.

    Songs are added to those in the folder; none is replaced.

    `megatron-music sample chorales -o music --bars 8 --begin --end`

    `megatron-music sample runs/bach-tiny/hf -o music -n 2 --bars 8 --temperature 0.9`

    `megatron-music sample runs/bach-tiny/hf -o music --prompt song.mid --fill-bars 5-6`

    `megatron-music sample runs/bach-tiny/hf -o music --harmonise tune.mid`

    `megatron-music sample runs/lyrics-tiny-text/hf --prompt "Why" --artist QUEEN`
    """
    from megatron_music.generate.album import Formats
    from megatron_music.generate.album_index import AlbumIndex
    from megatron_music.generate.model_folder import CARRIED, find_model

    options = replace(options, model=find_model(options.model))
    # Songs are kept by their names alone: the model is not looked at.
    if not options.keep and sample_text.is_words(options):
        sample_text.sample(options)
        return
    with _options_named():
        request = _request(options)
        formats = Formats(**{of.name: getattr(options, of.name) for of in fields(Formats)})
        beside = Path() if options.model == CARRIED else options.model.parent
        output = options.output or beside / "music"
        if options.keep:
            for file in AlbumIndex(output).keep(options.keep):
                print(file)
            return
        # The next free seed, so that the same command, given again, composes other songs.
        if options.seed is None and not options.song_ids:
            request = replace(request, seed=AlbumIndex(output).next_seed())
        _sample(options, output, request, formats)


def _request(options: SampleOptions) -> "Request":
    """Return the request of the options; raises UsageError where options contradict."""
    from megatron_music.generate.lyrics import read_words
    from megatron_music.generate.song_request import Request, parse_bars

    names = (field.name for field in fields(Request))
    given = {name: getattr(options, name, None) for name in names}
    if options.fill_bars is not None:
        given["fill_bars"] = parse_bars(options.fill_bars)
    if options.harmonise is not None:
        given["voice"] = options.voice or ""
    if options.words_file is not None:
        if options.words is not None:
            raise UsageError("--words and --words-file each give words; leave one of them out")
        given["words"] = read_words(options.words_file)
    song_ids, count = options.song_ids or [], _count(options)
    if song_ids and options.seed is not None:
        raise UsageError("--song-id and --seed each say which song; give one of the two")
    if song_ids and count not in (None, len(song_ids)):
        raise UsageError(
            f"-n is {count}, but --song-id names {len(song_ids)}; leave out -n, or repeat --song-id"
        )
    given["count"] = len(song_ids) or (4 if count is None else count)
    chosen = {name: value for name, value in given.items() if value is not None}
    lists = {name: tuple(value) for name, value in chosen.items() if isinstance(value, list)}
    return Request(**(chosen | lists))


def _count(options: SampleOptions) -> int | None:
    """Return how many songs are composed, None for the usual number; raises UsageError."""
    if options.best is None:
        if options.of is not None:
            raise UsageError(f"--of {options.of} needs --best: how many of them to keep")
        return options.count
    if options.count is not None or options.song_ids:
        raise UsageError("--best chooses among --of songs; leave out -n and --song-id")
    of = max(USUAL_SONGS, 2 * options.best) if options.of is None else options.of
    least = max(FEWEST_SONGS, options.best)
    if of < least:
        raise UsageError(
            f"--best {options.best} --of {of}: give --of {least} or more (with make: OF={least})"
        )
    return of


@contextmanager
def _options_named() -> Iterator[None]:
    """Name options in errors that name the arguments of the Python call."""
    try:
        yield
    except UsageError as error:
        error.args = (
            _ARGUMENT.sub(lambda m: _OPTIONS.get(m[1], f"--{m[1].replace('_', '-')}"), str(error)),
        )
        raise


def _sample(options: SampleOptions, output: Path, request: "Request", formats: "Formats") -> None:
    """Compose the songs that the folder lacks, and print the files of all; raises UsageError."""
    from megatron_music.files import check_writable
    from megatron_music.generate.model_folder import file_identity, model_identity
    from megatron_music.generate.training_data import training_data
    from megatron_music.tokenizer.vocabulary import load_vocabulary

    path = _prompt_file(options)
    # All that can be refused is checked before torch and the model are loaded, which takes seconds.
    if path is None:
        request.refuse_without_piece()
    model = options.model
    identity = model_identity(model)
    vocabulary = load_vocabulary(model)
    check_writable(output)
    corpus = training_data(model, vocabulary, options.data)

    from megatron_music.generate.album import songs_to_compose, write_album
    from megatron_music.generate.prepare_prompt import prepared, refuse_long_audio, remark
    from megatron_music.generate.song_report import Provenance

    prompt = prepared(path, request, vocabulary, corpus, confirmed=options.yes)
    if note := remark(prompt, request, vocabulary):
        show.log(note)
    if formats.wav:
        refuse_long_audio(request, prompt, vocabulary)
    maker = Provenance(identity, vocabulary.hash, file_identity(path) if path else "")
    due = songs_to_compose(output, request, maker, formats)
    songs: Iterator[Song] = iter(())
    # Nothing is loaded where all songs are there: only the page is written again.
    if due:
        songs = _composed(due, model, prompt, corpus, formats)
    else:
        show.log(f"{output} already holds these songs; other seeds give others")

    def copies(made: "Sequence[Song]") -> "list[Copies]":
        from megatron_music.evaluate.copying import check_copies

        if corpus is not None and made:
            show.log(f"looking for copies in {corpus}")
        return check_copies(made, corpus, vocabulary) if made else []

    # The best are composed before any is written.
    with show.progress("compose" if request.best is None else "write", "songs") as progress:
        files = write_album(
            songs,
            output,
            request,
            maker,
            formats,
            prompt=prompt,
            copies=copies,
            progress=progress,
            model=model,
            more=words_for_more(options),
        )
    for file in files:
        print(file)


def _prompt_file(options: SampleOptions) -> Path | None:
    """Return the file of the piece to begin from; raises UsageError where options contradict."""
    if options.harmonise is None and options.voice is not None and not options.sing:
        raise UsageError(
            "--voice says which track --harmonise keeps, or --sing has sung; give --harmonise FILE "
            "or --prompt FILE --sing"
        )
    if options.harmonise is not None and options.sing:
        raise UsageError("--sing keeps all of a piece, --harmonise one voice; give --prompt FILE")
    if options.harmonise is not None and options.prompt is not None:
        raise UsageError("--prompt and --harmonise each give a piece; leave out one of them")
    return options.harmonise or (None if options.prompt is None else Path(options.prompt))


def _composed(
    requests: "list[Request]",
    model: Path,
    prompt: "Prompt | None",
    corpus: Path | None,
    formats: "Formats",
) -> "Iterator[Song]":
    """Load a model and compose as songs are taken; where only the best are wanted, all at once."""
    from megatron_music.omp import set_omp_wait_policy
    from megatron_music.score.audio import PLAYER

    show.log(f"loading {model}")
    set_omp_wait_policy()
    from megatron_music.generate.composer import Composer

    composer = Composer.load(model)
    # A list: what the model cannot do is refused now, before the folder is made.
    songs: Iterator[Song] = chain.from_iterable(
        [composer.compose(request, prompt) for request in requests]
    )
    best, count, end = requests[0].best, requests[0].count, requests[0].end
    if best is not None:
        from megatron_music.evaluate.best import best_of, real_music

        real = real_music(model, corpus, composer.vocabulary)
        made = []
        with show.progress("compose", "songs") as progress:
            for song in songs:
                made.append(song)
                progress(len(made), count)
        songs = iter(best_of(made, best, real, composer.vocabulary, closing=end))
    if formats.wav:
        show.log(f"sound: {PLAYER}, stereo")
    return songs
