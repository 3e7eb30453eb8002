"""How many consumers the partitions of one consumer need: incoming rate and backlog, divided by its drain rate."""

from collections.abc import Mapping
from typing import Final

from aiokafka import TopicPartition

CATCH_UP_SECONDS: Final = 300.0  # time within which a backlog should be drained
SMOOTHING_SECONDS: Final = 60.0


class ReplicasNeeded:
    """Keeps both rates, smoothed over about a minute."""

    def __init__(self) -> None:
        self._observed_at: float | None = None
        self._log_ends: dict[TopicPartition, int] = {}
        self._written = self._write_seconds = 0.0
        self._incoming_rate = 0.0  # records per second
        self._drain_rate: float | None = None

    def observe(self, now: float, log_ends: Mapping[TopicPartition, int], written: float, write_seconds: float) -> None:
        """Update both rates.

        Args:
            now: a monotonic clock, in seconds.
            log_ends: the end of each partition's log; the incoming rate counts partitions that are in the last observation, too.
            written: records written since the start of the process.
            write_seconds: seconds spent writing them, without failed attempts.
        """
        if self._observed_at is not None and now > self._observed_at:
            incoming = sum(end - self._log_ends[each] for each, end in log_ends.items() if each in self._log_ends)
            seconds = now - self._observed_at
            weight = min(1.0, seconds / SMOOTHING_SECONDS)
            self._incoming_rate += weight * (max(0, incoming) / seconds - self._incoming_rate)
        self._observed_at, self._log_ends = now, dict(log_ends)
        if write_seconds > self._write_seconds:
            seconds = write_seconds - self._write_seconds
            rate = (written - self._written) / seconds
            weight = min(1.0, seconds / SMOOTHING_SECONDS)
            self._drain_rate = (
                rate if self._drain_rate is None else self._drain_rate + weight * (rate - self._drain_rate)
            )
        self._written, self._write_seconds = written, write_seconds

    def estimate(self, lag: int, partitions: int) -> float:
        """Consumers needed for `partitions` partitions with `lag` unwritten records in all; from 0 to `partitions`."""
        if not self._drain_rate:
            return float(min(1, partitions))
        return min(float(partitions), (self._incoming_rate + lag / CATCH_UP_SECONDS) / self._drain_rate)
