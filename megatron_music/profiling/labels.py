"""Short names of configurations: what differs between them, and nothing else."""

from collections.abc import Callable, Sequence

from megatron_music.profiling.rows import Row

_PARTS: tuple[tuple[Callable[[Row], object], Callable[[Row], str]], ...] = (
    (lambda row: row.processes, lambda row: f"{row.processes} proc."),
    (
        lambda row: (row.tensor_parallel, row.pipeline_parallel),
        lambda row: f"TP={row.tensor_parallel} PP={row.pipeline_parallel}",
    ),
    (lambda row: row.micro_batch_size, lambda row: f"micro {row.micro_batch_size}"),
    (lambda row: row.global_batch_size, lambda row: f"global {row.global_batch_size}"),
    (lambda row: row.precision, lambda row: row.precision),
    (lambda row: row.recompute, lambda row: f"recompute {row.recompute}"),
    (
        lambda row: (row.num_layers, row.hidden_size),
        lambda row: f"l={row.num_layers} h={row.hidden_size}",
    ),
    (lambda row: row.seq_length, lambda row: f"sequence {row.seq_length}"),
)


def short_labels(rows: Sequence[Row]) -> list[str]:
    """Return a name for each row by what is not the same in all of them; one row in full."""
    if len(rows) == 1:  # nothing differs
        return [rows[0].label]
    differing = [text for value, text in _PARTS if len({value(row) for row in rows}) > 1]
    return [", ".join(text(row) for text in differing) or row.label for row in rows]
