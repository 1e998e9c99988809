"""Export a checkpoint of any layout as a Hugging Face GPT-2 folder, and compare the logits."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from megatron_music.errors import CheckpointError, MissingError, UsageError, WriteError
from megatron_music.export.card import write_card
from megatron_music.export.checkpoints import Source, find_source
from megatron_music.files import os_error_reason, write_cure
from megatron_music.tokenizer.huggingface import refresh_tokenizer
from megatron_music.tokenizer.load import save_any_tokenizer
from megatron_music.tokenizer.structure import position_rows
from megatron_music.tokenizer.vocabulary import Vocabulary
from megatron_music.train.pretrain import silence_megatron

if TYPE_CHECKING:
    from megatron_music.export.parity import Parity

RECORD_FILE = "megatron_music.json"
TOLERANCE = 1e-4
"""Above this, relative to the largest logit, the exported model is not the trained one."""


@dataclass(frozen=True)
class Exported:
    """The result of an export; `parity` is None if the folder was up to date."""

    folder: Path
    iteration: int
    parity: "Parity | None"


def export(source: Path, target: Path) -> Exported:
    """Export a run folder or a `step_N` folder; `target` is complete or untouched.

    Raises CheckpointError (nothing to export, or logits differ), UsageError (`target` holds
    something else), MissingError and WriteError.
    """
    found = find_source(source)
    shape = found.recipe.model
    # What `transformers` calls a model's length: rows for structural inputs count as well.
    positions = position_rows(shape.structural_inputs, shape.seq_length, found.vocabulary).total
    if _is_up_to_date(target, found):
        if isinstance(found.vocabulary, Vocabulary):
            refresh_tokenizer(found.vocabulary.settings, target, positions)
        return Exported(target, found.iteration, None)
    with silence_megatron(), _replaced(target) as folder:
        try:
            from megatron_music.export.parity import write_model
        except ModuleNotFoundError as fault:
            raise MissingError(
                f"export needs {fault.name}; install it with pip install 'megatron-music[train]'"
            ) from None
        parity = write_model(found, folder)
        # Written again, not copied: other files in that folder are not ours to redistribute.
        save_any_tokenizer(found.vocabulary, folder, positions)
        if not parity.relative_difference <= TOLERANCE:
            raise CheckpointError(
                f"the exported model's logits differ by {parity.largest_difference:.1e} from "
                f"Megatron's, above {TOLERANCE:.0e} of the largest; {found.step} was not exported"
            )
        write_card(folder, found, parity.largest_difference)
        record = {
            "iteration": found.iteration,
            "checkpoint": found.identity,
            "step": str(found.step),
            "vocabulary_hash": found.vocabulary.hash,
            "largest_logit_difference": parity.largest_difference,
        }
        (folder / RECORD_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        # safetensors writes for its owner alone.
        for weights in folder.glob("*.safetensors"):
            shutil.copymode(folder / RECORD_FILE, weights)
    return Exported(target, found.iteration, parity)


def _is_up_to_date(target: Path, source: Source) -> bool:
    try:
        record = json.loads((target / RECORD_FILE).read_text(encoding="utf-8"))
        return bool(record["checkpoint"] == source.identity)
    except (OSError, ValueError, KeyError, TypeError):
        return False


@contextmanager
def _replaced(target: Path) -> Iterator[Path]:
    """Give an empty folder that takes the place of `target` if the block succeeds."""
    if target.exists() and not (target / RECORD_FILE).is_file():
        raise UsageError(f"{target} exists and is not an exported model; choose another -o")
    partial = target.with_name(f".{target.name}.partial")
    old = target.with_name(f".{target.name}.old")
    try:
        for leftover in (partial, old):
            shutil.rmtree(leftover, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        if target.exists():
            target.rename(old)
        partial.rename(target)
    except OSError as fault:
        raise WriteError(
            f"cannot write {target}: {os_error_reason(fault)}; {write_cure(fault)}"
        ) from fault
    finally:
        for leftover in (partial, old):
            shutil.rmtree(leftover, ignore_errors=True)
