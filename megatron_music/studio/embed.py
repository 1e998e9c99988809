"""Put an exported model into the package, for studios that have no other: `make studio-model`."""

import json
import shutil
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

from megatron_music.errors import UsageError
from megatron_music.generate.model_folder import CONFIG
from megatron_music.studio.embedded_songs import write_songs
from megatron_music.studio.server import EMBEDDED, find_models
from megatron_music.studio.worker import compose_songs

LARGEST_BYTES = 4 << 20
NUMBERS = range(1, 9)
_WEIGHTS = "model.safetensors"
_COPIED = (
    "README.md",
    "generation_config.json",
    "mmmtrack.json",
    "tokenizer.json",
    "tokenizer_config.json",
)


def embed(folder: Path, package: Path = EMBEDDED) -> int:
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


def embed_songs(package: Path = EMBEDDED) -> None:
    """Compose the first songs that a new studio plays, and put them beside their model."""
    (model,) = find_models([package])
    work = {"model": model.name, "numbers": list(NUMBERS)}
    songs = compose_songs(work, {model.name: str(package)}, lambda event: None)  # noqa: ARG005
    write_songs(package, model.key, songs)


if __name__ == "__main__":
    print(f"{embed(Path(sys.argv[1])):,} bytes of weights in {EMBEDDED}")
    embed_songs()
