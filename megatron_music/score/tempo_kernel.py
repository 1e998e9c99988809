"""The tempo of each bar, compiled: the same as `tempo.nearest_tempi` of `quantize.quantize`'s."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from megatron_music.score.bar_layout_kernel import (
    BARS,
    FIRST,
    LAST,
    ORIGIN,
    REGIONS,
    Layout,
    nearest_tick,
)
from megatron_music.score.grid_kernel import MOST_BARS
from megatron_music.score.jit import kernel, wide
from megatron_music.score.midi_columns import (
    CONTROL_KIND,
    CONTROL_TICK,
    CONTROL_VALUE,
    TEMPO,
    US_PER_MINUTE,
    Columns,
)
from megatron_music.score.notes import DEFAULT_QUARTER_US, QUARTERS_PER_BAR
from megatron_music.score.tempo import FASTEST_BPM, SLOWEST_BPM, TEMPO_EDGES_US

Cells = npt.NDArray[np.int64]

MOST_CONTROLS, MOST_TEMPOS = 1 << 18, 1 << 14
"""The limit for files that are encoded as a batch; larger ones are read one by one."""


class Tempos(NamedTuple):
    """The tempi of a piece: `ticks`, ascending, from which on `quarters_us` hold.

    `counts[0]` is how many there are. `bars` has the place of each bar's tempo in `TEMPI_BPM`;
    `edges_us` divide these.
    """

    ticks: Cells
    quarters_us: Cells
    bars: npt.NDArray[np.int32]
    edges_us: Cells
    counts: Cells


def new_tempos() -> Tempos:
    """Return tempi with room for the largest number."""
    return Tempos(
        ticks=np.empty(MOST_TEMPOS, np.int64),
        quarters_us=np.empty(MOST_TEMPOS, np.int64),
        bars=np.empty(MOST_BARS + 3, np.int32),
        edges_us=TEMPO_EDGES_US,
        counts=np.zeros(1, np.int64),
    )


@kernel
def read_tempos(controls: Columns, count: int, tempos: Tempos) -> bool:
    """Read the tempi among a file's controls, sorted by time; False where they are too many.

    Of several at one tick the last counts.
    """
    ticks, quarters, found = tempos.ticks, tempos.quarters_us, 0
    for i in range(count):
        value = wide(controls[CONTROL_VALUE, i])
        if controls[CONTROL_KIND, i] != TEMPO or value <= 0:
            continue
        # No piece has such a tempo: it is a placeholder of the program that wrote the file.
        if value * FASTEST_BPM < US_PER_MINUTE or value * SLOWEST_BPM > US_PER_MINUTE:
            value = DEFAULT_QUARTER_US
        # Controls come chunk by chunk, so that ticks go back; mostly by little, hence no sort.
        tick, place = wide(controls[CONTROL_TICK, i]), found
        while place > 0 and ticks[place - 1] > tick:
            place -= 1
        if place > 0 and ticks[place - 1] == tick:
            quarters[place - 1] = value
            continue
        if found == len(ticks):
            return False
        for other in range(found, place, -1):
            ticks[other], quarters[other] = ticks[other - 1], quarters[other - 1]
        ticks[place], quarters[place] = tick, value
        found += 1
    tempos.counts[0] = found
    return True


@kernel
def find_tempos(bars: int, resolution: int, layout: Layout, tempos: Tempos) -> None:
    """Find the tempo of each bar, which is that a thirty-second note after its beginning."""
    laid, regions = layout.counts[BARS], layout.regions
    region = place = 0
    for bar in range(bars):
        if laid == 0:
            tick = bar * QUARTERS_PER_BAR * resolution + resolution // 8
        else:
            sixteenths = wide(layout.starts[min(bar, laid)])
            if bar > laid:
                sixteenths += (bar - laid) * (layout.starts[laid + 1] - layout.starts[laid])
            tick = nearest_tick(sixteenths, resolution) + resolution // 8
            while region + 1 < layout.counts[REGIONS] and regions[ORIGIN, region + 1] <= tick:
                region += 1
                place = 0
            # Back from the bars as laid end to end to the time in the file, where the tempi are.
            tick += regions[FIRST, region] - regions[ORIGIN, region]
            tick = min(tick, regions[LAST, region] - 1)
        while place + 1 < tempos.counts[0] and tempos.ticks[place + 1] <= tick:
            place += 1
        quarter_us = tempos.quarters_us[place] if tempos.counts[0] > 0 else DEFAULT_QUARTER_US
        nearest = 0
        # Counting edges has no branch to mispredict; there are few.
        for edge in tempos.edges_us:
            nearest += quarter_us < edge
        tempos.bars[bar] = nearest
