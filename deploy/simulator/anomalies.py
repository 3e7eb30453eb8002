"""A stream of records, with shares of them sent twice, late, out of order, or with a malformed one beside them."""

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Final

from deploy.simulator.fleet import MINUTE_MS
from deploy.simulator.malformed import VARIETIES, spoilt
from deploy.simulator.readings import Record

# How long a record is held back, in minutes of simulated time. Devices report once a minute: from one minute on, a held
# record is overtaken by the next one of its device.
_REPEATED: Final = (0.0, 2.0)
_OUT_OF_ORDER: Final = (1.0, 3.0)
_LATE: Final = (5.0, 60.0)


@dataclass(frozen=True, slots=True)
class Shares:
    """How many readings in one (0 to 1) are sent twice, late, out of order, or are followed by a malformed record."""

    duplicate: float = 0.0
    late: float = 0.0
    out_of_order: float = 0.0
    malformed: float = 0.0


@dataclass(slots=True)
class Mischief:
    """How often it happened so far."""

    duplicates: int = 0
    late: int = 0
    out_of_order: int = 0
    malformed: int = 0


class Misbehaviour:
    """Holds records back and adds some; loses and alters none, so the totals stay what they were."""

    def __init__(self, shares: Shares, seed: int) -> None:
        self.done = Mischief()
        self._shares = shares
        self._dice = Random(seed)
        self._held: list[tuple[float, int, Record]] = []
        self._order = count()

    def apply(self, records: Iterable[Record]) -> Iterable[Record]:
        """The records to send now, for records that are due in the order of time."""
        return records if self._shares == Shares() else self._disturbed(records)

    def release(self) -> Iterator[Record]:
        """All that is still held back, in the order in which it would have been sent."""
        while self._held:
            yield heapq.heappop(self._held)[-1]

    def _disturbed(self, records: Iterable[Record]) -> Iterator[Record]:
        for record in records:
            while self._held and self._held[0][0] <= record.at_ms:
                yield heapq.heappop(self._held)[-1]
            if self._dice.random() < self._shares.duplicate:
                self.done.duplicates += 1
                self._hold(record, _REPEATED)
            if self._dice.random() < self._shares.malformed:
                self.done.malformed += 1
                yield spoilt(record, self._dice.choice(VARIETIES))
            if not self._held_back(record):
                yield record

    def _held_back(self, record: Record) -> bool:
        chance = self._dice.random()
        if chance < self._shares.late:
            self.done.late += 1
            self._hold(record, _LATE)
            return True
        if chance < self._shares.late + self._shares.out_of_order:
            self.done.out_of_order += 1
            self._hold(record, _OUT_OF_ORDER)
            return True
        return False

    def _hold(self, record: Record, minutes: tuple[float, float]) -> None:
        until_ms = record.at_ms + self._dice.uniform(*minutes) * MINUTE_MS
        heapq.heappush(self._held, (until_ms, next(self._order), record))
