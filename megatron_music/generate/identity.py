"""Which model it was: a hash of what decides every song."""

import hashlib
from pathlib import Path

from megatron_music.errors import CheckpointError
from megatron_music.tokenizer.vocabulary import SETTINGS_FILE

_PARTS = ("config.json", "model.safetensors", SETTINGS_FILE)


def model_identity(folder: Path) -> str:
    """Return a sha256 over the weights, the configuration and the vocabulary of an exported model.

    Raises CheckpointError if one of them is missing.
    """
    digest = hashlib.sha256()
    for name in _PARTS:
        try:
            with (folder / name).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as fault:
            raise no_model(folder, f"{name}: {fault.strerror}") from None
    return digest.hexdigest()


def no_model(folder: Path, reason: str) -> CheckpointError:
    """Return the error of a folder that is no exported model."""
    if (folder / "hf" / "config.json").is_file():
        return CheckpointError(
            f"{folder} is a run; its exported model is {folder / 'hf'}: give that"
        )
    return CheckpointError(
        f"no exported model in {folder} ({reason}); make one with: megatron-music export RUN -o DIR"
    )


def file_identity(path: Path) -> str:
    """Return a file's name and the sha256 of its contents."""
    return f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}"
