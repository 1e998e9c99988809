"""`sample` with a model of words."""

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from megatron_music.cli import show
from megatron_music.cli.sample_options import SampleOptions, option_names
from megatron_music.errors import UsageError

if TYPE_CHECKING:
    from megatron_music.generate.album_index import AlbumIndex
    from megatron_music.text.words_request import TextRequest
    from megatron_music.text.writer import WrittenSong

_OF_WORDS = ("artist", "title", "max_tokens")
_OF_BOTH = (
    *("model", "output", "keep", "count", "seed", "song_ids"),
    *("temperature", "top_k", "top_p", "min_p", "prompt"),
)

_OF_THE_BATCH = ("count", "song_ids")


def is_words(options: SampleOptions) -> bool:
    """Tell whether the model is one of words; raises UsageError for options of the other kind."""
    from megatron_music.tokenizer.text_vocabulary import is_text

    words = is_text(options.model)
    given = {of.name for of in fields(options) if getattr(options, of.name) != of.default}
    known = {*_OF_BOTH, *_OF_WORDS} if words else {of.name for of in fields(options)} - {*_OF_WORDS}
    wrong = [name for name in option_names() if name in given - known]
    if wrong:
        names = ", ".join(option_names()[name] for name in wrong)
        kinds = ("music", "words") if words else ("words", "music")
        raise UsageError(
            f"{names}: for a model of {kinds[0]}, and {options.model} is of {kinds[1]}; "
            "leave that out"
        )
    return words


def sample(options: SampleOptions) -> None:
    """Write the songs that are not there yet into the folder, and print all of them."""
    from megatron_music.files import check_writable, write_text
    from megatron_music.generate.album_index import TEXT_KINDS, AlbumIndex
    from megatron_music.generate.model_folder import model_identity

    output = options.output or options.model.parent / "words"
    index = AlbumIndex(output, TEXT_KINDS)
    request = _request(options, index)
    identity = model_identity(options.model)
    check_writable(output)

    def wish(seed: int) -> dict[str, Any]:
        of_all = {name: of for name, of in vars(request).items() if name not in _OF_THE_BATCH}
        return {**of_all, "seed": seed, "exact": request.exact, "model": identity}

    lacking = [seed for seed in request.seeds if index.find(wish(seed)) is None]
    if not lacking:
        show.log(f"{output} already holds these songs; other seeds give others")
    else:
        from megatron_music.omp import set_omp_wait_policy

        show.log(f"loading {options.model}")
        set_omp_wait_policy()
        # Only now: this loads torch, which reads the policy once.
        from megatron_music.text.writer import Writer

        writer = Writer.load(options.model)
        with show.progress("write", "songs") as progress:
            for done, seed in enumerate(lacking, 1):
                one = {"song_ids": (seed,)} if request.exact else {"seed": seed}
                (song,) = writer.write(replace(request, count=1, **one))
                entry = index.begin(f"song-{seed}", wish(seed))
                path = index.path(entry, "txt")
                write_text(path, _page(song))
                index.finish(entry, [path])
                progress(done, len(lacking))
    for seed in request.seeds:
        if (there := index.find(wish(seed))) is not None:
            path = index.path(there, "txt")
            print(f"{path}\n{path.read_text(encoding='utf-8')}")


def _page(song: "WrittenSong") -> str:
    """Return the text of a song's file: artist and title, an empty line, the words."""
    head = [f"{name}: {of}" for name, of in (("artist", song.artist), ("title", song.title)) if of]
    words = song.text if song.is_finished else f"{song.text} ..."
    return "\n".join([*head, *([""] if head else []), words]) + "\n"


def _request(options: SampleOptions, index: "AlbumIndex") -> "TextRequest":
    from megatron_music.text.words_request import TextRequest

    song_ids = tuple(options.song_ids or ())
    if song_ids and options.seed is not None:
        raise UsageError("--song-id and --seed each say which song; give one of the two")
    if song_ids and options.count not in (None, len(song_ids)):
        raise UsageError(
            f"-n is {options.count}, but --song-id names {len(song_ids)}; leave out -n"
        )
    chosen: dict[str, Any] = {
        "count": len(song_ids) or (4 if options.count is None else options.count),
        "seed": options.seed if options.seed is not None else index.next_seed(),
        "song_ids": song_ids,
        "prompt": options.prompt,
        "artist": options.artist,
        "title": options.title,
        "max_tokens": options.max_tokens,
        "min_p": options.min_p,
    }
    given: dict[str, Any] = {
        name: getattr(options, name) for name in ("temperature", "top_k", "top_p")
    }
    return TextRequest(**given, **{name: of for name, of in chosen.items() if of is not None})
