"""Readings per second, from a counter that is observed now and then."""

from collections import defaultdict, deque
from collections.abc import Mapping
from typing import Final

WINDOW_SECONDS: Final = 10.0
MAX_AGE_SECONDS: Final = 60.0
MIN_INTERVAL_SECONDS: Final = 0.5


class ReadingRate:
    """The growth of a counter per second.

    It covers the last WINDOW_SECONDS, or the time since the previous observation if that is longer, up to MAX_AGE_SECONDS.
    """

    def __init__(self) -> None:
        self._observations: deque[tuple[float, int]] = deque()

    def observe(self, at: float, count: int) -> float | None:
        """Records the value of the counter at an instant (seconds); returns the rate, None without an earlier value."""
        observations = self._observations
        if observations and (at - observations[-1][0] > MAX_AGE_SECONDS or count < observations[-1][1]):
            observations.clear()  # too old to compare with, or the counter was reset
        if not observations or at - observations[-1][0] >= MIN_INTERVAL_SECONDS:
            observations.append((at, count))
        while len(observations) > 2 and at - observations[1][0] >= WINDOW_SECONDS:  # noqa: PLR2004 - one before the last stays
            observations.popleft()
        first_at, first_count = observations[0]
        return round((count - first_count) / (at - first_at), 1) if at - first_at >= MIN_INTERVAL_SECONDS else None


class ReadingRates:
    """The growth per second of a counter that each cell has. A cell that responds again has not grown in that moment."""

    def __init__(self) -> None:
        self._rates: defaultdict[str, ReadingRate] = defaultdict(ReadingRate)

    def observe(self, at: float, counts: Mapping[str, int]) -> float | None:
        """Records the counters at an instant (seconds); returns the sum of the rates, None without an earlier value of any."""
        rates = [self._rates[name].observe(at, count) for name, count in counts.items()]
        return round(sum(known), 1) if (known := [rate for rate in rates if rate is not None]) else None
