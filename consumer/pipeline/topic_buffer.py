"""One topic's way through a replica: a batch being collected, and the one before it being written."""

import asyncio
import time
from collections.abc import Callable

from aiokafka import TopicPartition

from consumer.records.batch import Batch, BatchBuilder, BatchResult, Span

Writing = asyncio.Task[BatchResult]


class TopicBuffer:
    """At most one batch of a topic is written at a time, for the next one continues where it ends. Topics do not wait for each
    other: while the server stores a batch of one, the client decodes and sends another's.

    Args:
        largest: records that a batch may hold.
        longest_wait: seconds that the first record of a batch may wait for others.
    """

    def __init__(self, largest: int, longest_wait: float) -> None:
        self._largest = largest
        self._longest_wait = longest_wait
        self._in_flight: Batch | None = None
        self.builder = BatchBuilder()
        self.writing: Writing | None = None

    @property
    def room(self) -> int:
        """How many records may still be taken; none when that is little: fetching the last few costs as much as fetching many."""
        room = self._largest - len(self.builder)
        return room if room > self._largest // 10 else 0

    @property
    def idle(self) -> bool:
        """Whether a batch could be written at once."""
        return self.writing is None

    def patience(self) -> float | None:
        """Seconds until the batch being collected has waited long enough; None when it is empty."""
        if not len(self.builder):
            return None
        if not self.room:
            return 0.0
        return max(0.0, self.builder.opened + self._longest_wait - time.monotonic())

    def due(self) -> bool:
        """Whether the batch being collected is to be written as soon as the one before it is."""
        return not self.room or self.patience() == 0

    def begin(self, write: Callable[[Batch], Writing]) -> None:
        """Write what was collected."""
        self._in_flight = self.builder.build()
        self.builder = BatchBuilder()
        self.writing = write(self._in_flight)

    def settle(self) -> Writing | None:
        """The write that has ended, once; None when there is none."""
        return self._release() if self.writing and self.writing.done() else None

    def drop(self) -> Writing | None:
        """Forget what was collected; the write under way, whose end the caller has to see to."""
        self.builder = BatchBuilder()
        return self._release()

    def spans(self) -> dict[TopicPartition, Span]:
        """What is in hand of each partition; of what is being written where there is both."""
        return self.builder.spans | (dict(self._in_flight.spans) if self._in_flight else {})

    def _release(self) -> Writing | None:
        writing, self.writing, self._in_flight = self.writing, None, None
        return writing
