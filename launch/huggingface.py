#!/usr/bin/env python3
"""Train GPT-2 with Hugging Face's Trainer, by one of our recipes on one of our data sets.

launch/huggingface.py tiny --data data/bach
launch/huggingface.py article --data data/lakh --run-dir runs/peer train.precision=bf16
torchrun --nproc-per-node 8 launch/huggingface.py article --data data/lakh
"""

import importlib.util
import os
import sys
from pathlib import Path

PYTHON = Path(__file__).resolve().parents[1] / ".venv" / "bin" / "python"

if importlib.util.find_spec("megatron_music") is None:
    if not PYTHON.is_file() or Path(sys.prefix) == PYTHON.parents[1]:
        sys.exit("error: megatron_music is not installed here; run make setup first")
    os.execv(PYTHON, [str(PYTHON), *sys.argv])  # noqa: S606

import typer  # noqa: E402

from megatron_music.cli import show  # noqa: E402
from megatron_music.cli import train_options as option  # noqa: E402
from megatron_music.cli.main import run as run_program  # noqa: E402
from megatron_music.cli.train import report_errors_once  # noqa: E402

program = typer.Typer(
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@program.command()
def train(
    recipe: option.Recipe,
    data: option.Data,
    overrides: option.Overrides = None,
    run: option.TrainersRun = None,
    depth: option.Depth = None,
) -> None:
    """Train GPT-2 with Hugging Face's Trainer; started again, it resumes from its last checkpoint.

    The result is the folder RUN/hf, for `megatron-music sample` and `megatron-music evaluate`.

    `launch/huggingface.py tiny --data data/bach`

    `launch/huggingface.py article --data data/lakh --run-dir runs/peer train.precision=bf16`

    `torchrun --nproc-per-node 8 launch/huggingface.py article --data data/lakh`
    """
    from megatron_music.config import load_recipe
    from megatron_music.huggingface.pretrain import (
        check_layout,
        check_start,
        default_folder,
        pretrain,
    )
    from megatron_music.train.blend import parse_blend
    from megatron_music.train.launcher import ignore_launcher, rank
    from megatron_music.train.request import prepare

    ignore_launcher(keep_ranks=True)
    with report_errors_once(rank()):
        request = load_recipe(recipe, overrides or [], depth)
        check_layout(request)
        blend = parse_blend(data)
        request = prepare(request, blend, run or default_folder(recipe, blend))
        check_start(request)
        if not request.is_finished:
            show.wait_for("torch and transformers", rank())
            pretrain(request, show.log)
        elif rank() == 0:
            show.log(
                f"{request.run.path} has reached iteration {request.start_iteration}: "
                "nothing to train"
            )
        if rank() == 0 and request.run.latest() is not None:
            from megatron_music.export.huggingface import export

            export(request.run.path, request.run.path / "hf")
            print(request.run.path / "hf")


if __name__ == "__main__":
    run_program(program)
