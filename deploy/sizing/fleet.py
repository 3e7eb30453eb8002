"""The input of the model."""

from dataclasses import dataclass
from typing import Final

DAY: Final = 86_400  # seconds


@dataclass(frozen=True, slots=True)
class Fleet:
    """Half of the devices are vehicles, half are meters.

    `headroom` is the required throughput as a multiple of the fleet's rate: with 3, the backlog of an hour is drained in half an
    hour. `requests` is the number of requests for one vehicle per second. `archive_days` count from the drop of a month.
    `exact_cadence`: instants lie on the interval to the millisecond; otherwise they jitter by 500 ms. `late_share` is the share
    of days of devices of which a reading comes after the day was folded.
    """

    devices: int
    interval_seconds: float = 60
    retention_days: int = 400
    headroom: float = 3
    requests: float = 10
    pool_size: int = 20
    fold_after_days: int = 3
    archive_days: int = 730
    exact_cadence: bool = False
    late_share: float = 0.01

    @property
    def records(self) -> float:
        """Readings per second."""
        return self.devices / self.interval_seconds
