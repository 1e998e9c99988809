"""The report's columns: a heading, how a person reads it, how a program does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from megatron_music.profiling.sweep.results import FORMULAS, GIB, KIND, Figures

Value = str | int | float | None


@dataclass(frozen=True)
class Column:
    """`name` heads the CSV with its unit, `heading` the tables; `text` shortens a value."""

    name: str
    heading: str
    value: Callable[[Figures], Value]
    text: str = "{}"

    def show(self, figures: Figures) -> str:
        """Return the value as a person reads it; a dash for what is not known."""
        value = self.value(figures)
        return "-" if value is None else self.text.format(value)


def columns() -> Sequence[Column]:
    """Return all columns in their order."""
    return [
        Column("key", "row", lambda f: f.row.key),
        Column("device", "device", lambda f: f.row.device),
        Column("devices", "devices", lambda f: f.row.devices),
        Column("processes", "processes", lambda f: f.row.processes),
        Column("precision", "precision", lambda f: f.row.precision),
        Column("tensor_parallel", "TP", lambda f: f.row.tensor_parallel),
        Column("pipeline_parallel", "PP", lambda f: f.row.pipeline_parallel),
        Column("data_parallel", "DP", lambda f: f.row.data_parallel),
        Column("micro_batch_size", "micro batch", lambda f: f.row.micro_batch_size),
        Column("global_batch_size", "global batch", lambda f: f.row.global_batch_size),
        Column("recompute", "recompute", lambda f: f.row.recompute),
        Column("seq_length", "sequence", lambda f: f.row.seq_length),
        Column("num_layers", "layers", lambda f: f.row.num_layers),
        Column("hidden_size", "width", lambda f: f.row.hidden_size),
        Column("step_time_s", "step time, s (median)", lambda f: f.step_time_s, "{:.4g}"),
        Column("tokens_per_s_per_device", "tokens/s a device", lambda f: f.tokens_per_s, "{:,.0f}"),
        *(
            Column(f"tflops_{n}", f"TFLOP/s, {n} ({_kind(n)})", _by_formula("tflops", n), "{:.4g}")
            for n in FORMULAS
        ),
        *(
            Column(
                f"utilisation_{n}",
                f"utilisation, {n} ({_kind(n)})",
                _by_formula("utilisation", n),
                "{:.2%}",
            )
            for n in FORMULAS
        ),
        Column(
            "scaling_efficiency", "scaling efficiency", lambda f: f.scaling_efficiency, "{:.1%}"
        ),
        Column("peak_tflops", "peak, TFLOP/s", lambda f: f.row.peak_tflops, "{:.4g}"),
        Column("peak_source", "peak from", lambda f: f.row.peak_source),
        Column("memory_gib", "memory, GiB", _gib("memory_bytes"), "{:.3g}"),
        Column("estimated_gib", "estimate, GiB", _gib("estimated_bytes"), "{:.3g}"),
        Column("mean_power_w", "power, W", lambda f: f.row.mean_power_w, "{:.0f}"),
        Column(
            "joules_per_million_tokens",
            "J per million tokens",
            lambda f: f.joules_per_million_tokens,
            "{:,.0f}",
        ),
    ]


def split(
    ran: Sequence[Figures],
) -> tuple[Sequence[Column], Sequence[tuple[str, str]]]:
    """Return the columns that differ between rows, and (heading, value) of those that do not.

    Columns without any value are in neither. A single row keeps all that it has.
    """
    differing, common = [], []
    for column in columns():
        shown = {column.show(one) for one in ran}
        if shown <= {"-", ""}:
            continue
        if len(ran) > 1 and len(shown) == 1:
            common.append((column.heading, shown.pop()))
        else:
            differing.append(column)
    return differing, common


def _kind(name: str) -> str:
    return KIND[name].partition(" ")[0]


def _by_formula(figure: str, formula: str) -> Callable[[Figures], Value]:
    def value(figures: Figures) -> Value:
        by_name: dict[str, float] = getattr(figures, figure)
        return by_name.get(formula)

    return value


def _gib(name: str) -> Callable[[Figures], Value]:
    def value(figures: Figures) -> Value:
        held = getattr(figures.row, name)
        return None if held is None else held / GIB

    return value
