"""Scaling: the rate of more processes against the fewest that ran the same model."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from megatron_music.profiling.figures import Figures


@dataclass(frozen=True)
class Point:
    """The best configuration of so many processes; `tokens_per_s` of all devices together."""

    figures: Figures
    tokens_per_s: float
    efficiency: float
    """Rate of a device, against a device of the base's. A CPU is one device for all processes."""


@dataclass(frozen=True)
class Curve:
    """One model at one precision, by processes ascending; the first point is the base."""

    title: str
    points: tuple[Point, ...]

    @property
    def ideal(self) -> tuple[float, ...]:
        """Tokens/s if every device did as much as one of the base's."""
        base = self.points[0].figures.tokens_per_s
        return tuple(base * point.figures.row.devices for point in self.points)


def scaling_curves(ran: Iterable[Figures]) -> list[Curve]:
    """Return a curve for each model and precision that ran on more than one number of processes.

    Of each number of processes the fastest layout and batch counts.
    """
    groups: dict[tuple[object, ...], list[Figures]] = {}
    for one in ran:
        groups.setdefault(_model(one), []).append(one)
    curves = (_curve(group) for group in groups.values())
    return [curve for curve in curves if len(curve.points) > 1]


def with_efficiency(ran: Sequence[Figures]) -> list[Figures]:
    """Return the figures with their scaling efficiency, where there is something to scale from."""
    bases = {_model(curve.points[0].figures): curve.points[0] for curve in scaling_curves(ran)}
    return [
        replace(one, scaling_efficiency=one.tokens_per_s / bases[_model(one)].figures.tokens_per_s)
        if _model(one) in bases
        else one
        for one in ran
    ]


def _model(one: Figures) -> tuple[object, ...]:
    row = one.row
    shape = (row.num_layers, row.hidden_size, row.seq_length, row.padded_vocab_size)
    return (row.device, row.precision, *shape)


def _curve(group: Sequence[Figures]) -> Curve:
    best: dict[int, Figures] = {}
    for one in group:
        known = best.get(one.row.processes)
        if known is None or one.tokens_per_s > known.tokens_per_s:
            best[one.row.processes] = one
    ordered = [best[processes] for processes in sorted(best)]
    base, row = ordered[0], ordered[0].row
    title = f"l={row.num_layers} h={row.hidden_size}, sequence {row.seq_length}, {row.precision}"
    return Curve(
        title,
        tuple(
            Point(one, one.tokens_per_s * one.row.devices, one.tokens_per_s / base.tokens_per_s)
            for one in ordered
        ),
    )
