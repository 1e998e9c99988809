"""What a report says, whatever form it is written in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from megatron_music.errors import InputError
from megatron_music.profiling.charts.scaling import scaling_chart
from megatron_music.profiling.charts.timeline import timeline_chart
from megatron_music.profiling.charts.utilisation import utilisation_chart
from megatron_music.profiling.charts.where import where_chart
from megatron_music.profiling.figures import MEANING, RANKED_BY, Figures, best_first
from megatron_music.profiling.labels import short_labels
from megatron_music.profiling.rows import Row, read_rows
from megatron_music.profiling.scaling import scaling_curves, with_efficiency
from megatron_music.profiling.timeline import read_timeline
from megatron_music.profiling.where import Where, where_time_goes

TIMELINES = 3
"""Shown of the best, where nobody chose others."""

WHERE_MOST = 12
"""Configurations in the picture of where the time goes; the best ones, and all that were traced."""


TOO_LOW = (
    "Model FLOPs above 100 % of the peak: the measured peak is too low, since the machine did "
    "other work while it was measured. These utilisations say nothing; measure again, in another "
    "folder, when it is quiet."
)


@dataclass(frozen=True)
class Picture:
    """A PNG, its file's name, what it shows, and how to read it."""

    file: str
    title: str
    text: str
    data: bytes


@dataclass(frozen=True)
class Contents:
    """A sweep's rows as figures, best first; what did not run; where time went; the pictures."""

    ran: tuple[Figures, ...]
    rest: tuple[Row, ...]
    where: tuple[Where, ...]
    pictures: tuple[Picture, ...]

    @property
    def all(self) -> list[Row]:
        """Every row, in the report's order."""
        return [*(one.row for one in self.ran), *self.rest]

    @property
    def traced(self) -> list[Where]:
        """What nsys traced."""
        return [one for one in self.where if one.source == "kernels"]


def gather(folder: Path, chosen: Sequence[str] = ()) -> Contents:
    """Read a sweep's folder; `chosen` are the keys of the rows whose timelines are shown.

    Raises InputError where no sweep has left a row, and for a key of no row that ran.
    """
    rows = read_rows(folder)
    if not rows:
        raise InputError(f"{folder} holds no row of a sweep; run 'megatron-music profile sweep'")
    ran = with_efficiency(best_first(rows))
    known = {one.row.key: one for one in ran}
    if unknown := [key for key in chosen if key not in known]:
        raise InputError(
            f"no row {unknown[0]} ran in {folder}; choose of {', '.join(known) or 'none'}"
        )
    found = [where_time_goes(one, folder) for one in ran]
    where = tuple(one for one in found if one is not None)
    timed = [known[key].row for key in chosen] or [one.row for one in ran[:TIMELINES]]
    return Contents(
        tuple(ran),
        tuple(row for row in rows if row.key not in known),
        where,
        tuple(_pictures(ran, where, timed, folder)),
    )


def _pictures(
    ran: Sequence[Figures], where: Sequence[Where], timed: Sequence[Row], folder: Path
) -> list[Picture]:
    rows = [one.row for one in ran]
    names = {row.key: name for row, name in zip(rows, short_labels(rows), strict=True)}
    found = [
        Picture(
            "report.png",
            "Utilisation by configuration",
            "Share of the dense peak by each formula: equation3 counts hardware FLOPs, the other "
            "two count model FLOPs.",
            utilisation_chart(ran, names),
        )
    ]
    for source, text in _SOURCES.items():
        shown = [one for one in where if one.source == source and one.shares]
        if shown:
            title = f"Where the time goes: {source}"
            picture = where_chart(shown[:WHERE_MOST], names)
            found.append(Picture(f"report-{source}.png", title, text, picture))
    curves = scaling_curves(ran)
    if curves:
        picture = scaling_chart(curves)
        found.append(Picture("report-scaling.png", "Scaling", _SCALING, picture))
    timelines = [line for row in timed if (line := read_timeline(row, folder)) is not None]
    if timelines:
        picture = timeline_chart(timelines, names)
        found.append(Picture("report-timeline.png", "Over the time of a run", _TIMELINE, picture))
    return found


_SOURCES: Mapping[str, str] = {
    "kernels": "Traced by Nsight Systems in a run of its own: shares of the time from a device's "
    "first kernel to its last, mean over the devices. Communication counts where nothing else "
    "ran beside it.",
    "phases": "As the first process timed itself, over the measured iterations. Communication is "
    "the reduction of gradients and what pipeline stages send, the wait for other processes "
    "included; tensor parallel communication lies within forward and backward.",
}
_SCALING = (
    "Tokens/s of all devices by number of processes, of each the fastest layout; the percentage "
    "is the rate of a device against that of the fewest processes. Processes on a CPU share one "
    "device: the ideal stays level."
)
_TIMELINE = (
    "What was recorded around a run, its start-up included. On GPUs by NVML, mean and extremes "
    "over the GPUs used: utilisation says that some kernel ran, not how well. On a CPU the whole "
    "machine's load and memory, whoever caused them."
)


def summary(contents: Contents) -> str:
    """Say in a sentence or two how many ran and which was best."""
    ran = contents.ran
    counts = f"{len(ran)} of {len(contents.all)} configurations ran."
    if not ran:
        return counts
    best = ran[0]
    share = best.utilisation.get(RANKED_BY)
    told = "" if share is None else f" ({share:.2%} of the peak, {RANKED_BY})"
    rate = f"{best.tokens_per_s:,.0f} tokens/s"
    return (
        f"{counts} Best on {best.row.device}: {best.row.label}: "
        f"{rate} and {best.tflops[RANKED_BY]:.4g} TFLOP/s per device{told}."
    )


def notes(ran: Sequence[Figures]) -> list[str]:
    """Say what the figures are: formulas, peaks, medians, devices."""
    peaks = dict.fromkeys(
        f"{one.row.device}, {one.row.precision}: {one.row.peak_tflops:.4g} TFLOP/s "
        f"({one.row.peak_source})"
        for one in ran
        if one.row.peak_tflops is not None
    )
    return [
        *([TOO_LOW] if any(one.utilisation.get(RANKED_BY, 0.0) > 1 for one in ran) else []),
        *(f"{name}: {meaning}." for name, meaning in MEANING.items()),
        "equation3 gives hardware FLOPs, the other two give model FLOPs; a utilisation without "
        "its formula's name is meaningless.",
        *(f"Peak of {peak}." for peak in peaks),
        *dict.fromkeys(f"Software: {one.row.software}." for one in ran if one.row.software),
        *dict.fromkeys(f"NVML: {one.row.nvml_remark}." for one in ran if one.row.nvml_remark),
        "A peak is dense, of one device: from its maker's data sheet where the exact name is "
        "known, else measured here by plain matrix products, before and after the runs, the "
        "better one counting. Whatever else the machine did meanwhile lowers it.",
        "Batch a of b: micro batch a, global batch b, in sequences; l layers, h wide.",
        "Step time is the median of the iterations after the warm-up; rates are for one device. "
        "A CPU is one device, however many processes share it.",
        f"Best first by TFLOP/s per device, {RANKED_BY}.",
        "Memory, power and energy are NVML's, on a CPU memory is the first process's own; the "
        "estimate is of the fullest process, without what CUDA and NCCL take. Energy is that of "
        "the GPUs used, over the measured iterations. A dash is what was not recorded.",
    ]
