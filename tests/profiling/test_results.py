"""Scaling efficiency: the rate of a device against the fewest processes of the same model."""

from dataclasses import replace
from typing import Any

import pytest

from megatron_music.profiling.report import plots
from megatron_music.profiling.sweep.results import (
    Row,
    best_first,
    scaling_curves,
    scaling_efficiencies,
)
from tests.profiling.test_report import RAN


def row(processes: int, step_s: float, **other: object) -> Row:
    """8 tokens in a step, on as many devices as processes."""
    key = f"{processes} {step_s} {other}"
    given: dict[str, object] = {"key": key, "processes": processes, "devices": processes}
    return replace(RAN, step_times_s=(step_s,), **(given | other))  # type: ignore[arg-type]


ROWS = [row(1, 0.8), row(1, 1.6), row(2, 0.5), row(4, 0.25), row(4, 0.4)]


def test_of_each_number_of_processes_the_fastest_counts_against_the_fewest() -> None:
    (curve,) = scaling_curves(best_first(ROWS))
    assert [row.processes for row in curve] == [1, 2, 4]
    assert [row.tokens_per_s * row.devices for row in curve] == pytest.approx([10, 16, 32])


def test_every_row_has_its_efficiency_where_there_is_something_to_scale_from() -> None:
    found = scaling_efficiencies(best_first(ROWS))
    assert [found[one.key] for one in ROWS] == pytest.approx([1, 0.5, 0.8, 0.8, 0.5])
    assert scaling_efficiencies(best_first([row(2, 0.5)])) == {}


def test_models_and_precisions_are_not_mixed() -> None:
    rows = [row(1, 0.8), row(2, 0.5, precision="bf16"), row(2, 0.5, hidden_size=16)]
    assert scaling_curves(best_first(rows)) == []


def test_a_panel_shows_the_rates_beside_the_ideal(monkeypatch: pytest.MonkeyPatch) -> None:
    """GPUs should do as much each; processes that share a CPU have a level ideal."""
    drawn: list[Any] = []
    monkeypatch.setattr(plots, "png", lambda figure: drawn.append(figure) or b"")
    shared = best_first([row(1, 0.8, devices=1), row(2, 1.0, devices=1)])
    for rows, ideal, rates in ((ROWS, [10, 20, 40], [10, 16, 32]), (shared, [10, 10], [10, 8])):
        (curve,) = scaling_curves(best_first(rows))
        plots.scaling_chart([curve] * 4)
        axes = drawn[-1].axes
        assert sum(one.get_visible() for one in axes) == 4, "panels without a curve are hidden"
        assert [list(line.get_ydata()) for line in axes[0].lines] == [
            pytest.approx(ideal),
            pytest.approx(rates),
        ]
