"""Checkpoints that Hugging Face's Trainer saved: models in its own format already."""

from pathlib import Path

_STATE_FILE = "trainer_state.json"


def is_trainers(step: Path) -> bool:
    """Tell whether Hugging Face's Trainer saved this checkpoint, and not Megatron."""
    return (step / _STATE_FILE).is_file()
