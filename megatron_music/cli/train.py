"""`megatron-music train`: alone, or on every rank under torchrun."""

import os
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from megatron_music.cli import ctrl_c, show
from megatron_music.cli import train_options as option
from megatron_music.cli.estimate import refuse_long_run, show_estimate, show_rehearsal
from megatron_music.cli.sample_during_training import write_samples
from megatron_music.errors import MusicError, UsageError

if TYPE_CHECKING:
    from megatron_music.config import Recipe
    from megatron_music.train.blend import Blend

RANK_0_SPEAKS_S = 10.0
"""Seconds other ranks wait before reporting, so that rank 0 prints a common error once."""

STOPPING_S = 2.0
"""Seconds other ranks wait after a stop, while rank 0 reports the state of the run."""

_BELONGS = {
    "--device": ("--estimate", "--rehearse"),
    "--gpus": ("--estimate", "--rehearse"),
    "--json": ("--estimate", "--rehearse"),
    "--utilisation": ("--estimate",),
    "--assume": ("--rehearse",),
}
"""The modes other than training in which each option counts."""


def train(
    recipe: option.Recipe,
    overrides: option.Overrides = None,
    data: option.AnyData = None,
    run: option.Run = None,
    origin: option.Origin = None,
    depth: option.Depth = None,
    estimate: option.Estimate = False,
    rehearse: option.Rehearse = False,
    assume: option.Assume = None,
    device: option.Device = None,
    gpus: option.Gpus = None,
    utilisation: option.Utilisation = None,
    as_json: option.AsJson = False,
    megatron_lm_args: option.MegatronLmArgs = False,
    yes: option.Yes = False,
) -> None:
    """Train a model; started again, it resumes from its last checkpoint.

    `megatron-music train tiny --data data/bach train.lr=1e-3`

    `megatron-music train tiny --data data/bach:0.7 --data data/mine:0.3 --from runs/bach-tiny`

    `torchrun --nproc-per-node 2 -m megatron_music train article --data data/lakh`

    `megatron-music train article --depth 24 --estimate --device 'NVIDIA H200' --gpus 8`

    `megatron-music train musenet --rehearse --device 'NVIDIA H200' --gpus 64`
    """
    from megatron_music.config import load_recipe
    from megatron_music.train.blend import parse_blend
    from megatron_music.train.launcher import ignore_launcher, rank
    from megatron_music.train.request import default_run

    # Only a training uses a launcher's ranks; other modes run in one process.
    ignore_launcher(keep_ranks=not (estimate or rehearse or megatron_lm_args))
    # All ranks check the same request, and would print the same error.
    with report_errors_once(rank()):
        modes = {"--estimate": estimate, "--rehearse": rehearse}
        options = {"--device": device, "--gpus": gpus, "--json": as_json or None}
        _refuse_misplaced(
            modes | {"--megatron-lm-args": megatron_lm_args},
            options | {"--utilisation": utilisation, "--assume": assume},
        )
        settings = load_recipe(recipe, overrides or [], depth)
        blend = parse_blend(data) if data else None
        if estimate:
            show_estimate(settings, blend, device, gpus, utilisation, as_json)
        elif rehearse:
            show_rehearsal(settings, blend, device, gpus, assume or [], as_json)
        elif blend is None:
            raise UsageError("nothing to train on; give a data set folder with --data DIR")
        elif not megatron_lm_args:
            _train(settings, blend, run or default_run(recipe, blend), origin, recipe, yes)
        elif origin is not None:
            raise UsageError("stock Megatron-LM cannot read our checkpoints: no --from")
        else:
            stock = _stock_arguments(settings, blend, run or default_run(recipe, blend))
            print("\n".join(stock))


def _train(
    settings: "Recipe", blend: "Blend", run: Path, origin: Path | None, recipe: str, yes: bool
) -> None:
    from megatron_music.train.launcher import rank
    from megatron_music.train.pretrain import pretrain
    from megatron_music.train.request import prepare

    request = prepare(settings, blend, run, origin)
    if not request.is_finished:
        if rank() == 0 and not yes:
            refuse_long_run(request, recipe)
        show.wait_for("torch and Megatron", rank())

        def report(text: str) -> None:
            ctrl_c.check()  # it may have been lost while torch was loaded
            show.log(text)

        pretrain(request, report, write_samples)
    elif rank() == 0:
        iters = f"train.train_iters={settings.train.train_iters}"
        changes = [text for text in request.resume.changes if not text.startswith(iters)]
        idle = f"; without effect on a finished run: {', '.join(changes)}" if changes else ""
        show.log(
            f"{request.run.path} has reached iteration {request.start_iteration}, and {iters}: "
            f"nothing to do{idle}; raise train.train_iters to train on"
        )
    if rank() == 0 and request.run.latest() is not None:
        words = ["megatron-music", "export", str(run), "-o", str(run / "hf")]
        show.log(f"to compose with it: {shlex.join(words)}")


def _refuse_misplaced(modes: Mapping[str, bool], options: Mapping[str, object]) -> None:
    """Raise UsageError for several modes at once, and for options without their mode."""
    asked = [name for name, is_asked in modes.items() if is_asked]
    if len(asked) > 1:
        raise UsageError(f"{asked[-1]} not with {asked[0]}: ask for one of the two")
    for needed in sorted({_BELONGS[name] for name in options}):
        given = [name for name, value in options.items() if value is not None]
        given = [name for name in given if _BELONGS[name] == needed]
        if given and not set(asked) & set(needed):
            raise UsageError(
                f"{', '.join(given)} only with {' or '.join(needed)}; add it, or leave that out"
            )


def _stock_arguments(recipe: "Recipe", blend: "Blend", run: Path) -> list[str]:
    """Return the words for stock Megatron-LM, which does not choose its kernels by itself."""
    from megatron_music.tokenizer.huggingface import loads_in_megatron
    from megatron_music.tokenizer.load import save_any_tokenizer
    from megatron_music.tokenizer.text_vocabulary import is_text
    from megatron_music.train.backends import APEX_NORM, TRANSFORMER_ENGINE, installed
    from megatron_music.train.blend import common_vocabulary
    from megatron_music.train.megatron_lm import SAVED, megatron_lm_arguments

    # The data set's own tokenizer stays as it was built: runs know their data by its manifest.
    data = blend.folders[0].resolve()
    tokenizer, vocabulary = data / "tokenizer", common_vocabulary(blend)
    if not is_text(tokenizer) and not loads_in_megatron(tokenizer):
        made = run.resolve() / SAVED / "tokenizer"
        save_any_tokenizer(vocabulary, made)
        show.log(f"{tokenizer} is of an earlier version: stock Megatron-LM is given {made}")
        tokenizer = made
    asked = recipe.train.transformer_impl
    chosen = TRANSFORMER_ENGINE if TRANSFORMER_ENGINE in installed() else "local"
    return megatron_lm_arguments(
        recipe,
        blend.resolved().sized(vocabulary),
        run.resolve(),
        chosen if asked == "auto" else asked,
        tokenizer,
        has_apex=APEX_NORM in installed(),
    )


@contextmanager
def report_errors_once(rank: int) -> Iterator[None]:
    """Let rank 0 report an error that all ranks meet; report others after a delay."""
    from megatron_music.train.signals import StoppedError

    try:
        yield
    except StoppedError as stopped:
        if rank == 0:
            raise
        time.sleep(STOPPING_S)
        raise typer.Exit(stopped.exit_code) from None
    except MusicError:
        if rank == 0 or os.environ.get("MEGATRON_MUSIC_DEBUG"):
            raise
        time.sleep(RANK_0_SPEAKS_S)  # torchrun ends this process when rank 0 has spoken
        raise
