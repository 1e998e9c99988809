"""What nvidia-smi's table shows beside the figures of a moment: place, modes, memory errors."""

from dataclasses import dataclass
from typing import Any

COMPUTE_MODES = ("Default", "E. Thread", "Prohibited", "E. Process")


@dataclass(frozen=True)
class Board:
    """One GPU as it is set up; None where it does not tell."""

    index: int
    bus_id: str | None = None
    persistence: bool | None = None
    display_active: bool | None = None
    ecc_errors: int | None = None
    """Uncorrected memory errors since the last restart; None without ECC memory."""
    compute_mode: str | None = None


def describe(index: int, bus: Any, flags: tuple[Any, Any], ecc: Any, mode: Any) -> Board:
    """Return a board from NVML's raw answers."""
    persistence, display = (None if flag is None else bool(flag) for flag in flags)
    known = mode is not None and 0 <= mode < len(COMPUTE_MODES)
    return Board(
        index=index,
        bus_id=None if bus is None else str(bus.busId),
        persistence=persistence,
        display_active=display,
        ecc_errors=None if ecc is None else int(ecc),
        compute_mode=COMPUTE_MODES[mode] if known else None,
    )
