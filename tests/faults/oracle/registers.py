"""Cumulative registers of a meter -> the energy of each interval (docs/analytics.md, Meters that send a register)."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final

JITTER_KWH: Final = 1.0
MOST_KW: Final = 1000.0


def intervals(registers: Iterable[tuple[datetime, float]]) -> Iterator[tuple[datetime, float]]:
    """The kWh of the interval that ends at each register, in the order of the meter's clock. The first interval has none."""
    highest: float | None = None
    before: datetime | None = None
    for at, register in sorted(registers):
        kwh = 0.0
        if highest is not None and before is not None and not highest - JITTER_KWH <= register < highest:
            kwh = register - highest if register >= highest else register  # a fall: it was reset, and counts from zero
            if kwh > MOST_KW * max(60.0, (at - before).total_seconds()) / 3600:
                kwh = 0.0  # an error, or another meter
            highest = register
        elif highest is None:
            highest = register
        before = at
        yield at, kwh
