"""The model of an exported folder: numbers out of `model.safetensors`, and nothing that runs."""

import json
from pathlib import Path

from safetensors import safe_open
from transformers import GPT2LMHeadModel
from transformers.utils import logging

from megatron_music.errors import CheckpointError
from megatron_music.generate.identity import no_model

_CONFIG, _WEIGHTS = "config.json", "model.safetensors"
_LAYERS = "transformer.h."


def load_gpt2(folder: Path) -> GPT2LMHeadModel:
    """Load the GPT-2 that `export` wrote, on the CPU; raises CheckpointError.

    Neither pickled weights (`pytorch_model.bin`) nor code of the folder's are looked at, and every
    weight has to be there: `transformers` alone would make up those that are missing.
    """
    for name in (_CONFIG, _WEIGHTS):
        if not (folder / name).is_file():
            raise no_model(folder, f"{name}: not there")
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        _check_layers(folder)
        model, report = GPT2LMHeadModel.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
        _check_weights(report)
    except Exception as fault:  # safetensors, json and torch each raise their own
        reason = " ".join(str(fault).split())[:200]
        if "ignore_mismatched_sizes" in reason:  # transformers' cure would make weights up
            reason = f"{_WEIGHTS} has weights of other sizes than {_CONFIG}"
        raise CheckpointError(f"cannot load {folder}: {reason}; export it again") from fault
    return model


def _check_layers(folder: Path) -> None:
    """Refuse another number of layers before they are made; raises ValueError."""
    asked = json.loads((folder / _CONFIG).read_bytes())["n_layer"]
    with safe_open(folder / _WEIGHTS, "pt") as weights:
        names = list(weights.keys())
    held = {name.removeprefix(_LAYERS).split(".")[0] for name in names if name.startswith(_LAYERS)}
    if asked != len(held):
        raise ValueError(f"{_CONFIG} has {asked} layers, {_WEIGHTS} {len(held)}")


def _check_weights(report: dict[str, list[str]]) -> None:
    """Refuse a model that is not just what stood in the file; raises ValueError."""
    if odd := sorted({*report["missing_keys"], *report["unexpected_keys"]}):
        raise ValueError(f"{_WEIGHTS} does not fit {_CONFIG}: see {odd[0]}")
