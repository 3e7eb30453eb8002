"""Anomalies in a stream of records: duplicates, late and out-of-order records, and malformed records in addition."""

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Final

from deploy.simulator.corruptions import CORRUPTIONS, corrupted
from deploy.simulator.fleet import MINUTE_MS
from deploy.simulator.readings import Record

# How long a record is delayed, in minutes of simulated time. Devices report once a minute: a record that is delayed by a minute
# or more is sent after the next one of its device.
_DUPLICATE_DELAY: Final = (0.0, 2.0)
_OUT_OF_ORDER_DELAY: Final = (1.0, 3.0)
_LATE_DELAY: Final = (5.0, 60.0)


@dataclass(frozen=True, slots=True)
class AnomalyShares:
    """Shares of readings (0 to 1) that are sent twice, late, out of order, or with a malformed record before them."""

    duplicate: float = 0.0
    late: float = 0.0
    out_of_order: float = 0.0
    malformed: float = 0.0


@dataclass(slots=True)
class AnomalyCounts:
    """The anomalies so far."""

    duplicates: int = 0
    late: int = 0
    out_of_order: int = 0
    malformed: int = 0


class AnomalyInjector:
    """Delays and adds records. No record is lost or altered, so the totals stay the same."""

    def __init__(self, shares: AnomalyShares, seed: int) -> None:
        self.counts = AnomalyCounts()
        self._shares = shares
        self._random = Random(seed)
        self._delayed: list[tuple[float, int, Record]] = []
        self._order = count()

    def apply(self, records: Iterable[Record]) -> Iterable[Record]:
        """The records to send now. `records` are those that are due, ordered by time."""
        return records if self._shares == AnomalyShares() else self._with_anomalies(records)

    def drain(self) -> Iterator[Record]:
        """The records that are still delayed, in the order in which they would have been sent."""
        while self._delayed:
            yield heapq.heappop(self._delayed)[-1]

    def _with_anomalies(self, records: Iterable[Record]) -> Iterator[Record]:
        for record in records:
            while self._delayed and self._delayed[0][0] <= record.at_ms:
                yield heapq.heappop(self._delayed)[-1]
            if self._random.random() < self._shares.duplicate:
                self.counts.duplicates += 1
                self._delay(record, _DUPLICATE_DELAY)
            if self._random.random() < self._shares.malformed:
                self.counts.malformed += 1
                yield corrupted(record, self._random.choice(CORRUPTIONS))
            if not self._maybe_delay(record):
                yield record

    def _maybe_delay(self, record: Record) -> bool:
        draw = self._random.random()
        if draw < self._shares.late:
            self.counts.late += 1
            self._delay(record, _LATE_DELAY)
            return True
        if draw < self._shares.late + self._shares.out_of_order:
            self.counts.out_of_order += 1
            self._delay(record, _OUT_OF_ORDER_DELAY)
            return True
        return False

    def _delay(self, record: Record, minutes: tuple[float, float]) -> None:
        until_ms = record.at_ms + self._random.uniform(*minutes) * MINUTE_MS
        heapq.heappush(self._delayed, (until_ms, next(self._order), record))
