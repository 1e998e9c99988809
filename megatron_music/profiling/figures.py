"""From rows to the figures that people compare: medians, rates, utilisations by each formula."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from types import MappingProxyType

from megatron_music.costs import flops
from megatron_music.profiling.rows import Row

TERA = 1e12
GIB = 1 << 30

FORMULAS: Mapping[str, Callable[[flops.Shape], float]] = MappingProxyType(
    {"equation3": flops.equation3, "model": flops.model, "model_causal": flops.model_causal}
)
"""FLOPs of an iteration, by the name of the formula."""

RANKED_BY = "model_causal"

MEANING: Mapping[str, str] = MappingProxyType(
    {
        "equation3": "equation 3 of arXiv 2104.04473: hardware FLOPs with full activation "
        "recomputation, whether or not the run recomputed",
        "model": "model FLOPs, attention counted in full, recomputation not counted",
        "model_causal": "model FLOPs, causal attention counted by half, recomputation not "
        "counted; as Megatron counts since core 0.12",
    }
)


KIND: Mapping[str, str] = MappingProxyType(
    {"equation3": "hardware FLOPs", "model": "model FLOPs", "model_causal": "model FLOPs"}
)
"""Which FLOPs a formula counts."""


@dataclass(frozen=True)
class Figures:
    """What a row that ran amounts to; every rate is for one device."""

    row: Row
    step_time_s: float
    """Median over the measured iterations."""
    tokens_per_s: float
    tflops: dict[str, float]
    """TFLOP/s by the name of the formula."""
    utilisation: dict[str, float]
    """Share of the peak by the name of the formula; empty without a peak."""
    joules_per_million_tokens: float | None
    scaling_efficiency: float | None = None
    """Rate of a device against that of the fewest processes with the same model; if there are."""


def figures(row: Row) -> Figures:
    """Return the figures of a row that ran."""
    step_s = median(row.step_times_s)
    tokens = row.global_batch_size * row.seq_length
    rates = {
        name: formula(row.shape) / (step_s * row.devices * TERA)
        for name, formula in FORMULAS.items()
    }
    peak = row.peak_tflops
    energy = row.energy_j
    return Figures(
        row=row,
        step_time_s=step_s,
        tokens_per_s=tokens / (step_s * row.devices),
        tflops=rates,
        utilisation={name: rate / peak for name, rate in rates.items()} if peak else {},
        joules_per_million_tokens=(
            None if energy is None else energy / (tokens * len(row.step_times_s)) * 1e6
        ),
    )


def best_first(rows: Iterable[Row]) -> list[Figures]:
    """Return the figures of all rows that ran, most model FLOPs a second and device first."""
    ran = [figures(row) for row in rows if row.outcome == "ok" and row.step_times_s]
    return sorted(ran, key=lambda one: -one.tflops[RANKED_BY])
