"""Scaling efficiency: the rate of a device against the fewest processes of the same model."""

from dataclasses import replace
from typing import Any

import pytest

from megatron_music.profiling.report import plots
from megatron_music.profiling.sweep.results import Row, best_first, scaling_curves, with_efficiency
from tests.profiling.test_report import RAN


def row(processes: int, step_s: float, **other: object) -> Row:
    """8 tokens in a step, on as many devices as processes."""
    key = f"{processes} {step_s} {other}"
    given: dict[str, object] = {"key": key, "processes": processes, "devices": processes}
    return replace(RAN, step_times_s=(step_s,), **(given | other))  # type: ignore[arg-type]


ROWS = [row(1, 0.8), row(1, 1.6), row(2, 0.5), row(4, 0.25), row(4, 0.4)]


def test_of_each_number_of_processes_the_fastest_counts_against_the_fewest() -> None:
    (curve,) = scaling_curves(best_first(ROWS))
    assert [point.figures.row.processes for point in curve.points] == [1, 2, 4]
    assert [point.tokens_per_s for point in curve.points] == pytest.approx([10, 16, 32])
    assert [point.efficiency for point in curve.points] == pytest.approx([1, 0.8, 0.8])
    assert curve.ideal == pytest.approx((10, 20, 40))


def test_every_row_has_its_efficiency_where_there_is_something_to_scale_from() -> None:
    found = {one.row.key: one.scaling_efficiency for one in with_efficiency(best_first(ROWS))}
    assert [found[one.key] for one in ROWS] == pytest.approx([1, 0.5, 0.8, 0.8, 0.5])
    (alone,) = with_efficiency(best_first([row(2, 0.5)]))
    assert alone.scaling_efficiency is None


def test_models_and_precisions_are_not_mixed() -> None:
    rows = [row(1, 0.8), row(2, 0.5, precision="bf16"), row(2, 0.5, hidden_size=16)]
    assert scaling_curves(best_first(rows)) == []


def test_processes_that_share_a_cpu_have_a_level_ideal() -> None:
    (curve,) = scaling_curves(best_first([row(1, 0.8, devices=1), row(2, 1.0, devices=1)]))
    assert curve.ideal == pytest.approx((10, 10))
    assert [point.efficiency for point in curve.points] == pytest.approx([1, 0.8])


def test_panels_without_a_curve_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    (curve,) = scaling_curves(best_first(ROWS))
    drawn: list[Any] = []
    monkeypatch.setattr(plots, "png", lambda figure: drawn.append(figure) or b"")
    plots.scaling_chart([curve] * 4)
    assert sum(axes.get_visible() for axes in drawn[0].axes) == 4
