"""`evaluate` and `rank`: how good a model is, and which of its songs look most real."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from megatron_music.cli import show
from megatron_music.formatting import escape_controls

if TYPE_CHECKING:
    from megatron_music.generate.song_request import Request
    from megatron_music.text.words_request import TextRequest

FEWEST_SONGS, MOST_SONGS = 10, 10_000


def evaluate(
    model: Annotated[Path, typer.Argument(help="A folder that export wrote.", metavar="HFDIR")],
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", help="The data set it was trained on.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", metavar="DIR", help="The report's folder; else `report` next to HFDIR."),
    ] = None,
    count: Annotated[int, typer.Option("-n", help="How many songs to compose.")] = 64,
    seed: Annotated[int, typer.Option(help="The first song's seed; the next has the next.")] = 7,
    temperature: Annotated[float, typer.Option(help="Above 1 bolder, below 1 safer.")] = 1.0,
    top_p: Annotated[float, typer.Option(help="Draw from the likeliest of this mass.")] = 0.95,
    min_p: Annotated[
        float | None,
        typer.Option(help="As in `sample`: leave out unlikely tokens; else as HFDIR says."),
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option(help="As in `sample`: how much structural inputs count; else as HFDIR says."),
    ] = None,
    parallel_penalty: Annotated[
        float | None,
        typer.Option(help="As in `sample`: nats taken from parallels; else as HFDIR says."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Compare a model with music it has never seen: loss, statistics, copying, a critic.

    Example: `megatron-music evaluate runs/bach-tiny/hf --data data/bach -o runs/bach-tiny/report`
    """
    from megatron_music.errors import UsageError
    from megatron_music.files import check_writable
    from megatron_music.generate.song_request import Request
    from megatron_music.text.words_request import TextRequest
    from megatron_music.tokenizer.text_vocabulary import is_text

    if not FEWEST_SONGS <= count <= MOST_SONGS:
        raise UsageError(f"-n must be {FEWEST_SONGS}..{MOST_SONGS} songs (got {count})")
    output = output or model.parent / "report"
    check_writable(output)
    if is_text(model):
        words = TextRequest(count=count, seed=seed, temperature=temperature, top_p=top_p)
        figures = _figures(model, data, words, output)
        from megatron_music.text.evaluate_words import summary  # loads torch: not before

        lines = [*summary(figures), f"report: {output / 'report.md'}"]
    else:
        request = Request(
            count=count,
            seed=seed,
            temperature=temperature,
            top_p=top_p,
            min_p=min_p,
            guidance=guidance,
            parallel_penalty=parallel_penalty,
        )
        figures = _figures(model, data, request, output)
        lines = _summary(figures, output)
    print(json.dumps(figures, indent=2) if as_json else escape_controls("\n".join(lines)))


def _figures(
    model: Path, data: Path, request: "Request | TextRequest", output: Path
) -> dict[str, Any]:
    """Evaluate a model, of words or of music, and write its report, unless `output` has it."""
    from megatron_music.evaluate.report_cache import evaluation_identity, load_finished
    from megatron_music.omp import set_omp_wait_policy
    from megatron_music.text.words_request import TextRequest

    identity = evaluation_identity(model, data, request)
    finished = load_finished(output, identity)
    if finished is not None:
        show.log(f"{output} already holds this evaluation: nothing to do")
        return finished
    show.log(f"loading {model}")
    # Before torch is loaded, which reads it once: so imports that load torch come after it.
    set_omp_wait_policy()
    if isinstance(request, TextRequest):
        from megatron_music.text import evaluate_words

        figures = evaluate_words.evaluate_text(model, data, request, identity, show.progress)
        evaluate_words.write_report(figures, output)
        return figures
    from megatron_music.evaluate.evaluation import evaluate
    from megatron_music.evaluate.report import write_report

    found = evaluate(model, data, request, show.progress)
    show.log("drawing the report")
    return write_report(found, output)


def _summary(figures: dict[str, Any], output: Path) -> list[str]:
    lines = [
        f"{name:>6}: {_span(split['per_token'])} nats a token, {_span(split['per_note'])} a note, "
        + (f"{_span(split['per_cell'])} a cell; " if split["per_cell"] else "cells: none; ")
        + f"likeliest token illegal at {split['illegal_tops']['value']:.2%} of steps"
        for name, split in figures["losses"].items()
    ]
    if figures["voices"] is None:
        lines.append("voices: not for this music")
    else:
        lines += [
            f"{name}: {_span(of['composed'])}, held-out music {_span(of['held-out'])}"
            for name, of in figures["voices"].items()
        ]
    held = figures["held_over_barlines"]
    lines.append(
        f"notes across barlines: {_span(held['at'])} of the tracks where a window follows, "
        f"{_span(held['elsewhere'])} elsewhere, {_span(held['real'])} in held-out music"
    )
    critic, composed = figures["critic"], figures["copying"]["composed"]
    lines += [
        f"without the mask: {figures['free_samples']['whole']['value']:.0%} of songs are legal",
        f"copying: at most {max(map(int, composed))} bars in a row are in training music",
        f"critic: area under the curve {_span(critic['area_under_curve'])}, control "
        f"{_span(critic['control_area_under_curve'])}; best songs by it: "
        + ", ".join(map(str, critic["ranking"][:5])),
        f"report: {output / 'report.html'}, and report.md",
    ]
    return lines


def _span(estimate: dict[str, float]) -> str:
    return f"{estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"


def rank(
    critic: Annotated[
        Path, typer.Argument(metavar="CRITIC.json", help="What an evaluation wrote.")
    ],
    songs: Annotated[list[Path], typer.Argument(metavar="SONG.mid...", help="MIDI files.")],
) -> None:
    """Rank songs by how real they look to a critic, best first.

    Example: `megatron-music rank runs/bach-tiny/report/critic.json music/*.mid`
    """
    from megatron_music.errors import UsageError
    from megatron_music.evaluate.critic import Critic
    from megatron_music.score.music_file import read_music
    from megatron_music.score.quantize import quantize

    judge = Critic.load(critic)
    pieces = {song: quantize(read_music(song), judge.steps_per_quarter) for song in songs}
    # A critic tells its own kind of music from composed music; on another kind its scores mean
    # nothing.
    foreign = [song for song, piece in pieces.items() if judge.is_out_of_domain(piece)]
    if len(foreign) == len(pieces):
        raise UsageError(
            f"{critic} knows another kind of music than {foreign[0]}"
            + (f" and {len(foreign) - 1} more" if foreign[1:] else "")
            + "; give the critic of the model that composed it"
        )
    scores = {song: judge.score(piece) for song, piece in pieces.items() if song not in foreign}
    for song, score in sorted(scores.items(), key=lambda one: -one[1]):
        print(f"{score:.3f} {song}")
    for song in foreign:
        print(f"    - {song}: another kind of music than this critic knows")
