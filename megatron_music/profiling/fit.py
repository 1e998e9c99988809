"""Why a configuration cannot run on a machine, before it is tried: layout, precision, memory."""

from megatron_music.costs.memory import Memory, estimate_memory
from megatron_music.profiling.devices import Machine
from megatron_music.profiling.grid import Configuration, refusal
from megatron_music.tokenizer.structure import position_rows
from megatron_music.tokenizer.vocabulary import TokenizerSettings, vocabulary_of

GIB = 1 << 30
MARGIN = 1.1
"""What is estimated to need up to so many times the memory is tried: estimates err."""


def unfit(configuration: Configuration, machine: Machine) -> str | None:
    """Return why a configuration cannot run on a machine, None if it may."""
    reason = refusal(configuration, len(machine.gpus))
    if reason is not None:
        return reason
    asked, can = configuration.recipe.train.precision, machine.precisions
    if asked not in can:
        return f"train.precision={asked} is not for {machine.name}; it has {', '.join(can)}"
    return _lacks_memory(configuration, machine)


def memory_needed(configuration: Configuration) -> Memory:
    """Estimate what the fullest process of a layout holds; the layout is one that can work.

    Where sequence parallel is left to the engine it is counted as on, which takes less.
    """
    recipe, data = configuration.recipe, configuration.data_parallel_size
    shape, vocabulary = recipe.model, vocabulary_of(TokenizerSettings())
    rows = position_rows(shape.structural_inputs, shape.seq_length, vocabulary)
    return estimate_memory(recipe, len(vocabulary), data, rows.total)


def _lacks_memory(configuration: Configuration, machine: Machine) -> str | None:
    room_bytes = machine.room_bytes(configuration.processes)
    needed = memory_needed(configuration)
    if room_bytes is None or needed.total <= MARGIN * room_bytes:
        return None
    parts = ", ".join(
        f"{name} {getattr(needed, name) / GIB:.1f}"
        for name in ("weights", "gradients", "optimizer", "activations")
    )
    return (
        f"needs about {needed.total / GIB:.1f} GiB of {room_bytes / GIB:.1f} a process ({parts}); "
        "a smaller micro batch, more recomputation or a larger TP or PP takes less"
    )
