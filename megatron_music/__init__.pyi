"""The types of the public names, which `__init__.py` imports when they are first used."""

from megatron_music.api import build as build
from megatron_music.api import decode as decode
from megatron_music.api import encode as encode
from megatron_music.api import load_composer as load_composer
from megatron_music.api import load_vocabulary as load_vocabulary
from megatron_music.api import read_midi as read_midi
from megatron_music.api import read_music as read_music
from megatron_music.api import write_midi as write_midi
from megatron_music.score.notes import Piece as Piece

__version__: str
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
