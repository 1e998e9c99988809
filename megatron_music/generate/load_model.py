"""Load the model of an exported folder from safetensors alone: no code of the folder runs."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import GPT2LMHeadModel
from transformers.utils import logging

from megatron_music.errors import CheckpointError
from megatron_music.generate.model_folder import CONFIG, no_model, weight_files
from megatron_music.train.torch_build import refuse_without_code

_LAYERS = "transformer.h."


def load_gpt2(folder: Path) -> GPT2LMHeadModel:
    """Load the GPT-2 that `export` wrote, on the CPU; raises CheckpointError.

    Neither pickled weights (`pytorch_model.bin`) nor code of the folder's are looked at, and every
    weight has to be there: `transformers` alone would make up those that are missing.
    """
    files = weight_files(folder)
    for name in (CONFIG, *files):
        if not (folder / name).is_file():
            raise no_model(folder, f"{name}: not there")
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        # Before loading: a config.json with a thousand layers would be built, with made-up weights.
        _check_layers(folder, files)
        model, report = GPT2LMHeadModel.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except Exception as fault:  # safetensors, json and torch each raise their own
        reason = " ".join(str(fault).split())[:200]
        if "ignore_mismatched_sizes" in reason:  # transformers' cure would make weights up
            reason = f"{files[0]} has weights of other sizes than {CONFIG}"
        raise CheckpointError(f"cannot load {folder}: {reason}; export it again") from fault
    if odd := sorted({*report["missing_keys"], *report["unexpected_keys"]}):
        raise CheckpointError(
            f"cannot load {folder}: {files[0]} does not fit {CONFIG}: see {odd[0]}; export it again"
        )
    return model


def load_on_device(folder: Path) -> GPT2LMHeadModel:
    """Load the GPT-2 that `export` wrote onto a GPU if torch can use one; raises CheckpointError.

    Raises MissingError for a GPU that torch has no code for.
    """
    model, device = load_gpt2(folder), torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", torch.cuda.current_device())
        refuse_without_code(device)
    return model.to(device)


def _check_layers(folder: Path, files: Sequence[str]) -> None:
    """Raise ValueError unless the files hold as many layers as the configuration names."""
    asked = json.loads((folder / CONFIG).read_bytes())["n_layer"]
    names: list[str] = []
    for file in files:
        if file.endswith(".safetensors"):
            with safe_open(folder / file, "pt") as weights:
                names += weights.keys()
    held = {name.removeprefix(_LAYERS).split(".")[0] for name in names if name.startswith(_LAYERS)}
    if asked != len(held):
        raise ValueError(f"{CONFIG} has {asked} layers, {files[0]} {len(held)}")
