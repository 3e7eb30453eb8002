"""How many replicas the partitions of one replica need: what comes in and what has piled up, by what a replica can write."""

from collections.abc import Mapping
from typing import Final

from aiokafka import TopicPartition

CATCH_UP_SECONDS: Final = 300.0  # a backlog should be gone by then
SMOOTHING_SECONDS: Final = 60.0


class ReplicasNeeded:
    """Learns both rates from what it is told from time to time, smoothed over about a minute."""

    def __init__(self) -> None:
        self._at: float | None = None
        self._ends: dict[TopicPartition, int] = {}
        self._written = self._busy = 0.0
        self._incoming = 0.0
        self._drain: float | None = None

    def learn(self, at: float, ends: Mapping[TopicPartition, int], written: float, busy: float) -> None:
        """Note where things stand.

        Args:
            at: a clock that never goes back, in seconds.
            ends: where the log of each partition ends; those that were known before count for what comes in.
            written: records settled since the start.
            busy: seconds spent in writing them; batches that had to wait for the database are left out of both.
        """
        if self._at is not None and at > self._at:
            came = sum(end - self._ends[each] for each, end in ends.items() if each in self._ends)
            weight = min(1.0, (at - self._at) / SMOOTHING_SECONDS)
            self._incoming += weight * (max(0, came) / (at - self._at) - self._incoming)
        self._at, self._ends = at, dict(ends)
        if busy > self._busy:
            drain = (written - self._written) / (busy - self._busy)
            weight = min(1.0, (busy - self._busy) / SMOOTHING_SECONDS)
            self._drain = drain if self._drain is None else self._drain + weight * (drain - self._drain)
        self._written, self._busy = written, busy

    def replicas(self, behind: int, partitions: int) -> float:
        """What is needed for `partitions` partitions that are together `behind` records behind; from 0 to `partitions`."""
        if not self._drain:
            return float(min(1, partitions))
        return min(float(partitions), (self._incoming + behind / CATCH_UP_SECONDS) / self._drain)
