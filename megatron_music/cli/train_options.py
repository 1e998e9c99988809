"""The options of `train` and of `launch/huggingface.py`, as typer reads them."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from megatron_music.train.launcher import RUN_DIR_OPTIONS

_DATA = Option("--data", metavar="DIR[:WEIGHT]", help="A data set folder; repeat for a blend.")

Recipe = Annotated[
    str, Argument(help="A recipe's name (tiny, article, ...) or the path of a .yaml.")
]
Overrides = Annotated[
    list[str] | None, Argument(metavar="[KEY=VALUE]...", help="As in train.lr=1e-3.")
]
Data = Annotated[list[str], _DATA]
AnyData = Annotated[list[str] | None, _DATA]
Run = Annotated[
    Path | None,
    Option(*RUN_DIR_OPTIONS, metavar="DIR", help="The run folder; else runs/DATA-RECIPE."),
]
TrainersRun = Annotated[
    Path | None,
    Option(
        *RUN_DIR_OPTIONS, metavar="DIR", help="The run folder; else runs/DATA-RECIPE-huggingface."
    ),
]
Origin = Annotated[
    Path | None,
    Option(
        "--from",
        metavar="RUN",
        help="Begin with the weights of that run; for words also of a GPT-2 folder.",
    ),
]
Depth = Annotated[
    int | None,
    Option("--depth", metavar="N", help="Scale to N layers; width and rates follow."),
]
Yes = Annotated[bool, Option("--yes", help="Train even where that would take longer than a day.")]
MegatronLmArgs = Annotated[
    bool, Option("--megatron-lm-args", help="Print what stock pretrain_gpt.py is given.")
]

Estimate = Annotated[bool, Option("--estimate", help="Say what it will cost, and train nothing.")]
Rehearse = Annotated[
    bool, Option("--rehearse", help="Step each distinct rank without a GPU, and train nothing.")
]
Assume = Annotated[
    list[str] | None,
    Option("--assume", metavar="NAME=VALUE", help="With --rehearse: as in network_gb_s=25."),
]
Device = Annotated[
    str | None,
    Option(
        "--device", metavar="NAME", help="With --estimate or --rehearse: such GPUs, by exact name."
    ),
]
Gpus = Annotated[
    int | None, Option("--gpus", metavar="N", help="With --estimate or --rehearse: how many.")
]
Utilisation = Annotated[
    float | None,
    Option("--utilisation", help="With --device: share of the peak, else 0.35."),
]
AsJson = Annotated[
    bool, Option("--json", help="With --estimate or --rehearse: for a program to read.")
]
