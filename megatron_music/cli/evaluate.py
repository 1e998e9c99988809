"""`evaluate` and `rank`: how good a model is, and which of its songs look most real."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from megatron_music.cli import show

if TYPE_CHECKING:
    from megatron_music.evaluate.evaluation import Evaluation


def evaluate(
    model: Annotated[Path, typer.Argument(help="A folder that export wrote.", metavar="HFDIR")],
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", help="The data set it was trained on.")
    ],
    output: Annotated[Path, typer.Option("-o", metavar="DIR", help="The folder of the report.")],
    count: Annotated[int, typer.Option("-n", help="How many songs to compose.")] = 64,
    seed: Annotated[int, typer.Option(help="The first song's seed; the next has the next.")] = 7,
    temperature: Annotated[float, typer.Option(help="Above 1 bolder, below 1 safer.")] = 1.0,
    top_p: Annotated[float, typer.Option(help="Draw from the likeliest of this mass.")] = 0.95,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Hold a model against music it has never seen: loss, statistics, copying, a critic.

    Example: `megatron-music evaluate runs/bach-tiny/hf --data data/bach -o runs/bach-tiny/report`
    """
    from megatron_music.errors import UsageError
    from megatron_music.generate.request import Request
    from megatron_music.threads import wait_asleep

    if not FEWEST_SONGS <= count <= MOST_SONGS:
        raise UsageError(f"-n must be {FEWEST_SONGS}..{MOST_SONGS} songs (got {count})")
    request = Request(count=count, seed=seed, temperature=temperature, top_p=top_p)
    wait_asleep()
    from megatron_music.evaluate.evaluation import evaluate as run
    from megatron_music.evaluate.report import as_json as figures
    from megatron_music.evaluate.report import write_report

    found = run(model, data, request, show.progress)
    report = write_report(found, output)
    print(json.dumps(figures(found), indent=2) if as_json else _summary(found, report))


FEWEST_SONGS, MOST_SONGS = 10, 10_000


def _summary(found: "Evaluation", report: Path) -> str:
    from megatron_music.evaluate.evaluation import whole_share

    lines = [
        f"{name:>6}: {side.per_token.value:.3f} nats a token "
        f"[{side.per_token.low:.3f}, {side.per_token.high:.3f}], "
        f"{side.per_note.value:.2f} a note; likeliest token illegal at "
        f"{side.illegal_tops.value:.2%} of steps"
        for name, side in found.losses.items()
    ]
    copied = max(found.copying.composed)
    verdict = found.verdict
    return "\n".join(
        [
            *lines,
            f"without the mask: {whole_share(found.free).value:.0%} of songs are legal",
            f"copying: at most {copied} bars in a row shared with training music",
            f"critic: area under the curve {verdict.area.value:.2f} (control "
            f"{verdict.control.value:.2f}); best songs by it: "
            + ", ".join(map(str, verdict.ranking[:5])),
            f"report: {report}",
        ]
    )


def rank(
    critic: Annotated[Path, typer.Argument(help="The critic.json of an evaluation.")],
    songs: Annotated[list[Path], typer.Argument(metavar="SONG.mid...", help="MIDI files.")],
) -> None:
    """Rank songs by how real they look to a critic, best first.

    Example: `megatron-music rank runs/bach-tiny/report/critic.json music/*.mid`
    """
    from megatron_music.evaluate.critic import Critic
    from megatron_music.score.midi import read_midi
    from megatron_music.score.quantize import quantize

    judge = Critic.load(critic)
    scores = [
        (judge.score(quantize(read_midi(song), judge.steps_per_quarter)), song) for song in songs
    ]
    for score, song in sorted(scores, key=lambda one: -one[0]):
        print(f"{score:.3f} {song}")
