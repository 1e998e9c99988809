"""MIDI in, Megatron-trained composer out.

`import megatron_music` loads nothing heavy: each name is imported when it is first used.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

__all__ = [
    "Piece",
    "build",
    "decode",
    "encode",
    "load_composer",
    "load_vocabulary",
    "read_midi",
    "read_music",
    "write_midi",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.api"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
