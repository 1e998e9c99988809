"""`megatron-music export`: a checkpoint as a Hugging Face folder."""

from pathlib import Path
from typing import Annotated

import typer

from megatron_music.cli import show


def export(
    run: Annotated[
        Path,
        typer.Argument(help="A run folder (its latest checkpoint) or a step_N.", metavar="RUN"),
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="HFDIR", help="Where to; else `hf` in the run."),
    ] = None,
) -> None:
    """Export a checkpoint to Hugging Face GPT-2 and report the largest logit difference.

    `megatron-music export runs/bach-tiny`
    """
    from megatron_music.omp import set_omp_wait_policy

    output = output or (run.parents[1] if run.parent.name == "checkpoints" else run) / "hf"
    show.log(f"exporting {run} to {output}")
    set_omp_wait_policy()
    from megatron_music.export import huggingface

    done = huggingface.export(run, output)
    # Also for a folder that is up to date: the data may not have been there when it was exported.
    _add_real_music(output)
    if done.parity is None:
        show.log(f"{output} is up to date with iteration {done.iteration}")
        return
    print(f"largest logit difference {done.parity.largest_difference:.1e}")
    show.log(
        f"{output} holds iteration {done.iteration}; the largest logit is "
        f"{done.parity.largest_logit:.2f}; in fp64, where rounding does not count, the models "
        f"differ by {done.parity.largest_difference_fp64:.1e}"
    )


def _add_real_music(model: Path) -> None:
    """Add the measures that `sample --best` ranks by, if the training data are here."""
    from megatron_music.errors import InputError
    from megatron_music.evaluate.best import RealMusic, has_real_music
    from megatron_music.generate.training_data import training_data
    from megatron_music.tokenizer.text_vocabulary import is_text
    from megatron_music.tokenizer.vocabulary import load_vocabulary

    if is_text(model):
        return
    vocabulary = load_vocabulary(model)
    data = training_data(model, vocabulary)
    if data is None or has_real_music(model):
        return
    try:
        RealMusic.of(data, vocabulary).save(model)
    except InputError as fault:
        show.log(f"note: nothing to rank songs by, {fault}")
