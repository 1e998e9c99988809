"""Put an exported model into the package, for studios that have no other: `make studio-model`."""

import json
import shutil
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

from megatron_music.errors import UsageError
from megatron_music.evaluate.best import REAL_MUSIC_FILE, best_of, real_music
from megatron_music.generate.composer import Composer
from megatron_music.generate.model_folder import CARRIED, CONFIG
from megatron_music.generate.song_request import Request
from megatron_music.studio.embedded_songs import write_songs
from megatron_music.studio.server import find_models
from megatron_music.studio.worker import compose_songs, song_wishes

LARGEST_BYTES = 4 << 20
FIRST_SONGS, OF = 8, 64
"""The number of songs that are carried: the best of those of the numbers from 1."""

_WEIGHTS = "model.safetensors"
_COPIED = (
    "README.md",
    "generation_config.json",
    "mmmtrack.json",
    "tokenizer.json",
    "tokenizer_config.json",
    REAL_MUSIC_FILE,
)


def embed(folder: Path, package: Path = CARRIED) -> int:
    """Write a model in half precision into `package` and return its bytes; raises UsageError.

    Loaded it computes in single precision, as all models do.
    """
    weights = {name: weight.half() for name, weight in load_file(folder / _WEIGHTS).items()}
    size_bytes = sum(weight.nbytes for weight in weights.values())
    if size_bytes > LARGEST_BYTES:
        raise UsageError(
            f"{folder} takes {size_bytes:,} bytes in half precision, at most {LARGEST_BYTES:,} are "
            "carried; take a smaller model"
        )
    package.mkdir(exist_ok=True)
    save_file(weights, package / _WEIGHTS, metadata={"format": "pt"})
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    # Half precision saves space in the package alone; a CPU computes in single precision.
    text = json.dumps(config | {"dtype": "float32"}, indent=2)
    (package / CONFIG).write_text(text + "\n", encoding="utf-8")
    for name in _COPIED:
        shutil.copyfile(folder / name, package / name)
    return size_bytes


def embed_songs(package: Path = CARRIED) -> None:
    """Compose the first songs that a new studio plays, and put them beside their model."""
    (model,) = find_models([package])
    work = {"model": model.name, "numbers": best_numbers(package)}
    songs = compose_songs(work, {model.name: str(package)}, lambda event: None)  # noqa: ARG005
    write_songs(package, model.key, songs)


def best_numbers(folder: Path) -> list[int]:
    """Return the numbers of the songs that look most real and close on the tonic, ascending."""
    composer = Composer.load(folder)
    wishes = song_wishes(composer, 1) | {"song_ids": tuple(range(1, OF + 1))}
    real = real_music(folder, None, composer.vocabulary)
    songs = list(composer.compose(Request(**wishes)))
    best = best_of(songs, FIRST_SONGS, real, composer.vocabulary, closing=True)
    return sorted(song.seed for song in best)


if __name__ == "__main__":
    print(f"{embed(Path(sys.argv[1])):,} bytes of weights in {CARRIED}")
    embed_songs()
