"""The iterations of a capture, by the NVTX ranges that the training loop wrote."""

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence

from megatron_music.errors import UsageError
from megatron_music.profiling.intervals import Union, clip, overlap
from megatron_music.profiling.nsight.activity import Range
from megatron_music.profiling.nsight.result import Step, Steps

ITERATIONS = r"(profiler|train(ing)?[ _]?)?(iteration|iter|step)[\s_:#=-]*\d*"
"""Names of ranges that count as one iteration: `iteration 7`, `train_step`, `ProfilerStep#7`."""

PHASES_SHOWN = 12
NS_PER_MS = 1e6


def find_iterations(ranges: Iterable[Range], pattern: str = ITERATIONS) -> dict[int, list[Range]]:
    """Return the iterations of each process, of nested ones the outermost.

    The ranges come as `read_ranges` returns them: by their start, the longer one first.
    """
    matches = _compile(pattern).fullmatch
    found: dict[int, list[Range]] = defaultdict(list)
    for each in ranges:
        if matches(each.name.strip()):
            earlier = found[each.process]
            if not earlier or each.start >= earlier[-1].end:
                earlier.append(each)
    return dict(found)


def measure_steps(
    iterations: Sequence[Range],
    ranges: Sequence[Range],
    busy: Union,
    communication: Union,
    compute: Union,
) -> Steps | None:
    """Return what a device did in each iteration of its process; None without iterations.

    Times are those of the thread that ran the iteration. Work that the GPU still has in its queue
    when an iteration ends is seen in the next one.
    """
    if not iterations:
        return None
    inner = inner_steps(iterations)
    steps = tuple(_measure(each, busy, communication, compute) for each in inner)
    return Steps(steps, len(iterations) - len(inner), _phases(inner, ranges))


def inner_steps(iterations: Sequence[Range]) -> Sequence[Range]:
    """Return all but the first and the last; all of them where fewer than three are there."""
    return iterations[1:-1] if len(iterations) >= 3 else iterations


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern, re.IGNORECASE)
    except re.error as fault:
        raise UsageError(
            f"'{pattern}' is not a regular expression ({fault}); give one such as 'iteration.*'"
        ) from fault


def _measure(step: Range, busy: Union, communication: Union, compute: Union) -> Step:
    within = [clip(part, step.start, step.end) for part in (busy, communication, compute)]
    hidden = overlap(within[1], within[2])
    return Step(
        name=step.name,
        duration_ms=(step.end - step.start) / NS_PER_MS,
        busy_share=within[0].length / (step.end - step.start),
        communication_ms=within[1].length / NS_PER_MS,
        communication_exposed_ms=(within[1].length - hidden) / NS_PER_MS,
    )


def _phases(steps: Sequence[Range], ranges: Sequence[Range]) -> dict[str, float]:
    """Return the mean time an iteration spent in each range right inside it, longest first."""
    totals: dict[str, int] = defaultdict(int)
    for step in steps:
        reached = step.start
        first = bisect_left(ranges, step.start, key=lambda each: each.start)
        last = bisect_left(ranges, step.end, key=lambda each: each.start)
        for each in ranges[first:last]:
            inside = each.thread == step.thread and each.end <= step.end and each is not step
            if inside and each.start >= reached:
                totals[_plain(each.name)] += each.end - each.start
                reached = each.end
    longest = sorted(totals.items(), key=lambda item: -item[1])[:PHASES_SHOWN]
    return {name: total / len(steps) / NS_PER_MS for name, total in longest}


def _plain(name: str) -> str:
    """Return a range's name without what numbers it, so that its repetitions add up."""
    return re.sub(r"(, (op_id|seq) = \d+.*|[\s_:#]*\d+)$", "", name.strip())
