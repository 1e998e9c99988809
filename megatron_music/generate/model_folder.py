"""The folder of an exported model: where it is, and a hash of what decides its songs."""

import hashlib
import json
from pathlib import Path

from megatron_music.data.sources.item import MUSIC_SUFFIXES
from megatron_music.errors import CheckpointError
from megatron_music.files import read_small
from megatron_music.tokenizer.load import settings_file

CONFIG = "config.json"
CARRIED = Path(__file__).parents[1] / "models" / "chorales"
"""The small model of chorales that comes with the package."""

_WHOLE, _INDEX = "model.safetensors", "model.safetensors.index.json"


def find_model(model: Path) -> Path:
    """Return the folder of a model; `chorales` is the carried one, unless a folder is named so."""
    return CARRIED if str(model) == CARRIED.name and not model.exists() else model


def model_identity(folder: Path) -> str:
    """Return a sha256 over the weights, the configuration and the vocabulary of an exported model.

    Raises CheckpointError if one of them is missing.
    """
    digest = hashlib.sha256()
    for name in (CONFIG, *weight_files(folder), settings_file(folder)):
        try:
            with (folder / name).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as fault:
            raise no_model(folder, f"{name}: {fault.strerror}") from None
    return digest.hexdigest()


def weight_files(folder: Path) -> tuple[str, ...]:
    """Return the names of the files that hold a model's weights; they need not be there.

    One file, or where that is missing an index and the shards it names, as `transformers` writes
    large models. Raises CheckpointError for an index that is damaged or names other folders.
    """
    if (folder / _WHOLE).is_file() or not (folder / _INDEX).is_file():
        return (_WHOLE,)
    try:
        shards = {*json.loads(read_small(folder / _INDEX))["weight_map"].values()}
        are_here = all(Path(one).name == one and one.endswith(".safetensors") for one in shards)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as fault:
        raise _damaged_index(folder, str(fault)) from None
    if not shards or not are_here:
        raise _damaged_index(folder, "it must name .safetensors files of the same folder")
    return (_INDEX, *sorted(shards))


def _damaged_index(folder: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"{folder / _INDEX} is damaged ({reason}); export or copy the model again"
    )


def no_model(folder: Path, reason: str) -> CheckpointError:
    """Return the error of a folder that is not an exported model."""
    if (folder / "hf" / "config.json").is_file():
        return CheckpointError(
            f"{folder} is a run; its exported model is {folder / 'hf'}: give that"
        )
    run = folder.parent if folder.name == "hf" and not folder.exists() else folder
    if (run / "checkpoints").is_dir():
        return CheckpointError(
            f"{run} is a run that is not exported; first: megatron-music export {run}"
        )
    if folder.name.lower().endswith(MUSIC_SUFFIXES) and folder.is_file():
        return CheckpointError(
            f"{folder} is a piece of music, not a model; give an exported model, and the piece "
            "with --prompt"
        )
    models = sorted(path.parent for path in Path("runs").glob("*/hf/config.json"))
    if models:
        runs = ", ".join(f"RUN={model.parent}" for model in models)
        cure = f"give {', '.join(map(str, models))} (with make: {runs})"
    else:
        cure = "train one with make pretrain, or export a run: megatron-music export RUN"
    hidden = ", which this folder hides" if folder.name == CARRIED.name and folder.exists() else ""
    return CheckpointError(
        f"no exported model in {folder} ({reason}); {cure}; the package has one, "
        f"{CARRIED.name}{hidden}"
    )


def file_identity(path: Path) -> str:
    """Return a file's name and the sha256 of its contents."""
    return f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}"
