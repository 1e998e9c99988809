"""`megatron-music profile`: what a configuration costs."""

import json
from typing import Annotated

import typer

from megatron_music.cli import profile_nsight, profile_nvml, profile_sweep

app = typer.Typer(help="What a configuration costs, and what the hardware does.")
app.command("nsight")(profile_nsight.nsight)
app.command("nvml")(profile_nvml.nvml)
app.command("sweep")(profile_sweep.sweep)
app.command("report")(profile_sweep.report)


@app.command()
def flops(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or the path of a .yaml.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="As in model.num_layers=4.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For a machine to read.")] = False,
) -> None:
    """Count the FLOPs of one iteration by three formulas, over the default vocabulary.

    `megatron-music profile flops article model.seq_length=4096 --json`
    """
    from megatron_music.config import load_recipe
    from megatron_music.costs import flops as costs
    from megatron_music.tokenizer.vocabulary import TokenizerSettings, Vocabulary

    size = len(Vocabulary(TokenizerSettings()))
    shape = costs.recipe_shape(load_recipe(recipe, overrides or []), size)
    figures = {
        "equation3": costs.equation3(shape),
        "model": costs.model(shape),
        "model_causal": costs.model_causal(shape),
        "padded_vocab_size": shape.padded_vocab_size,
        "tokens": shape.global_batch_size * shape.seq_length,
    }
    if as_json:
        print(json.dumps(figures))
        return
    for name in ("equation3", "model", "model_causal"):
        print(f"{name:12}  {figures[name]:.4e} FLOPs an iteration")
