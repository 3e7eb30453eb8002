"""How many consumers the partitions of one consumer need: incoming rate and backlog, divided by its drain rate.

A consumer that keeps up writes small batches one after the other, and batches grow with the load, so the share of time in which
it writes says nothing about its load. The drain rate is that of full batches: the seconds of each write beyond those of a
transaction that holds next to nothing, by record. What large batches have shown is kept while small ones are written.
"""

from collections.abc import Mapping
from typing import Final

from aiokafka import TopicPartition

from consumer.pipeline.batch_writer import Throughput

CATCH_UP_SECONDS: Final = 300.0  # time within which a backlog should be drained
SMOOTHING_SECONDS: Final = 60.0


class ReplicasNeeded:
    """Keeps both rates, smoothed over about a minute."""

    def __init__(self) -> None:
        self._observed_at: float | None = None
        self._log_ends: dict[TopicPartition, int] = {}
        self._written = Throughput()
        self._transaction_seconds: float | None = None  # of a write without the part that grows with its records
        self._incoming_rate = 0.0  # records per second
        self._records = 0.0  # written in about the last minute of writing
        self._record_seconds = 0.0  # spent on them, without that of their transactions

    def observe(self, now: float, log_ends: Mapping[TopicPartition, int], written: Throughput) -> None:
        """Update both rates.

        Args:
            now: a monotonic clock, in seconds.
            log_ends: the end of each partition's log; the incoming rate counts partitions that are in the last observation, too.
            written: what was written since the start of the process.
        """
        if self._observed_at is not None and now > self._observed_at:
            incoming = sum(end - self._log_ends[each] for each, end in log_ends.items() if each in self._log_ends)
            seconds = now - self._observed_at
            self._incoming_rate += _weight(seconds) * (max(0, incoming) / seconds - self._incoming_rate)
        self._observed_at, self._log_ends = now, dict(log_ends)
        self._observe_writes(written - self._written)
        self._written = written

    def estimate(self, lag: int, partitions: int) -> float:
        """Consumers needed for `partitions` partitions with `lag` unwritten records in all; from 0 to `partitions`."""
        if not self._records:
            return float(min(1, partitions))
        seconds = self._record_seconds / self._records
        return min(float(partitions), (self._incoming_rate + lag / CATCH_UP_SECONDS) * seconds)

    def _observe_writes(self, new: Throughput) -> None:
        if new.short_writes:
            seconds = new.short_seconds / new.short_writes
            before = seconds if self._transaction_seconds is None else self._transaction_seconds
            self._transaction_seconds = before + _weight(new.short_seconds) * (seconds - before)
        seconds = new.seconds - new.writes * (self._transaction_seconds or 0.0)
        if new.records and seconds > 0:
            kept = 1 - _weight(seconds)
            self._records = kept * self._records + new.records
            self._record_seconds = kept * self._record_seconds + seconds


def _weight(seconds: float) -> float:
    """Of an observation that lasted so long, in a moving average."""
    return min(1.0, seconds / SMOOTHING_SECONDS)
