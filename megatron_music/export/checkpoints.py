"""Find the checkpoint to export in a run. Loads neither torch nor megatron."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from megatron_music.config import Recipe, parse_recipe
from megatron_music.errors import CheckpointError, RecipeError
from megatron_music.tokenizer.load import AnyVocabulary, load_any_vocabulary
from megatron_music.train.run_dir import META_FILE, find_step, read_meta


@dataclass(frozen=True)
class Source:
    """A checkpoint with the tokenizer folder and the recipe it was trained with."""

    step: Path
    tokenizer: Path
    iteration: int
    recipe: Recipe
    vocabulary: AnyVocabulary

    @property
    def identity(self) -> str:
        """A sha256 over the checkpoint's files, by name, size and time of writing."""
        digest = hashlib.sha256((self.step / META_FILE).read_bytes())
        for path in sorted(self.step.iterdir()):
            status = path.stat()
            digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns}\n".encode())
        return digest.hexdigest()


def find_source(path: Path) -> Source:
    """Take a run folder (its latest checkpoint) or a `step_N` folder; raises CheckpointError."""
    step = find_step(path)
    if step is None:
        raise CheckpointError(
            f"no checkpoint in {path}; give a run folder or its checkpoints/step_N"
        )
    meta = read_meta(step)
    tokenizer = step.parent.parent / "tokenizer"
    vocabulary = load_any_vocabulary(tokenizer)
    if vocabulary.hash != meta.vocabulary_hash:
        raise CheckpointError(
            f"{step} was trained with another vocabulary than {tokenizer} holds; "
            "export from the run folder it was trained in"
        )
    try:
        recipe = parse_recipe(meta.recipe)
    except RecipeError as fault:
        raise CheckpointError(f"{step} carries a recipe of another version: {fault}") from None
    return Source(step, tokenizer, meta.iteration, recipe, vocabulary)
