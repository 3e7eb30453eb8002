"""Batches on their way: for each topic, one that is filling and one that is being written.

At most one batch of a topic is written at a time, because the next one continues where it ends. What arrives meanwhile is written
next, so batches grow with the load. Topics do not wait for each other: while the server stores a batch of one topic, the client
decodes and sends that of another.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Set
from functools import partial
from typing import Final

import structlog
from aiokafka import TopicPartition

from consumer.pipeline.batch_writer import BatchWriter
from consumer.records.batch import Batch, BatchBuilder, BatchResult, Span
from consumer.settings import ConsumerSettings

log = structlog.get_logger(__name__)

Write = asyncio.Task[BatchResult]
# Shares of the session time-out: the other members wait for the drain, and heartbeats go on meanwhile.
DRAIN_SHARE: Final = 1 / 3  # for the writes to finish
CANCEL_SHARE: Final = 1 / 3  # for the others to be cancelled
CANCEL_ATTEMPTS: Final = 3
BATCHES_PER_TOPIC: Final = 2  # one that is filling and one that is being written
LONGEST_CANCEL_SECONDS: Final = 1.0  # of one attempt
MARKERS_WAIT_SECONDS: Final = 1.0  # of a batch that holds no record: only offsets move, past transaction markers
FULL_CHECK_SECONDS: Final = 0.02  # a full topic is fetched again soon after its write has ended
FILL_WAIT_SECONDS: Final = 0.5  # of a batch that Kafka has enough records for to fill it


class TopicBuffer:
    """The buffer of one topic.

    Args:
        max_records: records that a batch may hold.
        max_bytes: bytes of keys and values at which a batch is full.
        max_wait: seconds that the first record of a batch waits for others where Kafka has no more of them yet.
    """

    def __init__(self, max_records: int, max_bytes: int, max_wait: float) -> None:
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._max_wait = max_wait
        self._in_flight: Batch | None = None
        self.builder = BatchBuilder()
        self.write: Write | None = None

    @property
    def capacity(self) -> int:
        """Records that still fit; 0 below a tenth of a batch: fetching the last few would cost as much as fetching many."""
        if self.bytes_left <= self._max_bytes // 10:
            return 0
        capacity = self._max_records - len(self.builder)
        return capacity if capacity > self._max_records // 10 else 0

    @property
    def bytes_left(self) -> int:
        """Bytes of keys and values that still fit."""
        return self._max_bytes - self.builder.size

    @property
    def idle(self) -> bool:
        """Whether no write of this topic is in flight."""
        return self.write is None

    def seconds_until_due(self) -> float | None:
        """Seconds until the filling batch has waited long enough; None when it is empty."""
        if not self.builder.spans:
            return None
        if not self.capacity:
            return 0.0
        return max(0.0, self.builder.opened + self._wait_seconds() - time.monotonic())

    def is_due(self) -> bool:
        return not self.capacity or self.seconds_until_due() == 0

    def seconds_until_look(self) -> float | None:
        """Seconds until the poll loop has to look at this topic; None where records or the end of the write come first."""
        seconds = self.seconds_until_due()
        if self.idle or seconds is None:
            return seconds
        return (seconds or None) if self.capacity else FULL_CHECK_SECONDS

    def start_write(self, start: Callable[[Batch], Write]) -> Write:
        self._in_flight = self.builder.build()
        self.builder = BatchBuilder()
        self.write = start(self._in_flight)
        return self.write

    def take_finished(self) -> Write | None:
        """The write that has finished, returned once; None when there is none."""
        return self._take_write() if self.write and self.write.done() else None

    def discard(self) -> Write | None:
        """Discard the filling batch; returns the write in flight, which the caller has to await."""
        self.builder = BatchBuilder()
        return self._take_write()

    def spans(self) -> dict[TopicPartition, Span]:
        """The span of each partition with unwritten records: of the batch in flight, else of the filling one."""
        return self.builder.spans | (dict(self._in_flight.spans) if self._in_flight else {})

    def _wait_seconds(self) -> float:
        if not len(self.builder):
            return max(self._max_wait, MARKERS_WAIT_SECONDS)
        if self.builder.unread >= self.capacity:
            return max(self._max_wait, FILL_WAIT_SECONDS)
        return self._max_wait

    def _take_write(self) -> Write | None:
        write, self.write, self._in_flight = self.write, None, None
        return write


class TopicBuffers:
    """The buffers of all topics."""

    def __init__(self, topics: Iterable[str], writer: BatchWriter, settings: ConsumerSettings) -> None:
        self._writer = writer
        session_seconds = settings.kafka_session_timeout_ms / 1000
        self._drain_seconds = DRAIN_SHARE * session_seconds
        self._cancel_seconds = min(LONGEST_CANCEL_SECONDS, CANCEL_SHARE * session_seconds / CANCEL_ATTEMPTS)
        self._abandoned: set[Write] = set()  # writes that survived their cancellation
        max_wait = settings.batch_max_wait_ms / 1000
        names = list(topics)
        max_bytes = settings.batch_max_bytes // (BATCHES_PER_TOPIC * len(names))
        self._buffers = {topic: TopicBuffer(settings.batch_max_records, max_bytes, max_wait) for topic in names}

    def builder(self, topic: str) -> BatchBuilder:
        """The filling batch of a topic. Do not keep it: it may be replaced while the caller awaits something."""
        return self._buffers[topic].builder

    def capacity(self, topic: str) -> int:
        return self._buffers[topic].capacity

    def bytes_left(self, topic: str) -> int:
        return self._buffers[topic].bytes_left

    def buffered_records(self) -> int:
        return sum(len(buffer.builder) for buffer in self._buffers.values())

    def unwritten_partitions(self) -> set[TopicPartition]:
        """The partitions whose offset has not yet been written as far as they were fetched."""
        return {partition for buffer in self._buffers.values() for partition in buffer.spans()}

    def oldest_unwritten(self) -> dict[TopicPartition, int]:
        """Kafka timestamp (ms since 1970) of the oldest unwritten record, by partition; only where it is plausible."""
        return {
            partition: span.oldest
            for buffer in self._buffers.values()
            for partition, span in buffer.spans().items()
            if span.oldest is not None
        }

    def milliseconds_until_look(self) -> list[float]:
        """How long a fetch of other topics may take, for each topic that does not only wait for records or its write."""
        waits = (buffer.seconds_until_look() for buffer in self._buffers.values())
        return [seconds * 1000 for seconds in waits if seconds is not None]

    def start_due_writes(self) -> None:
        self._start(buffer for buffer in self._buffers.values() if buffer.is_due())

    def start_all_writes(self) -> None:
        self._start(self._buffers.values())

    def writes_in_flight(self) -> set[Write]:
        return {buffer.write for buffer in self._buffers.values() if buffer.write}

    def collect_finished(self) -> bool:
        """Collect the writes that have finished; whether the offsets must be read again after one of them."""
        finished = [write for buffer in self._buffers.values() if (write := buffer.take_finished())]
        return sum(self._writer.needs_restart(write) for write in finished) > 0

    async def drain(self) -> None:
        """Discard the filling batches, wait for the writes in flight, and cancel those that do not finish in time."""
        writes = {write for buffer in self._buffers.values() if (write := buffer.discard())}
        if writes:
            _, unfinished = await asyncio.wait(writes, timeout=self._drain_seconds)
            if unfinished:
                log.warning("write_abandoned", reason="partitions were revoked and the database does not respond")
                await self._cancel(unfinished)
            for write in writes:
                if write.done() and not write.cancelled():
                    self._writer.needs_restart(write)
        self._writer.clear_committed()

    def _start(self, buffers: Iterable[TopicBuffer]) -> None:
        for buffer in buffers:
            if buffer.idle and buffer.builder.spans:
                buffer.start_write(self._create_write).add_done_callback(partial(self._write_next, buffer))

    def _write_next(self, buffer: TopicBuffer, write: Write) -> None:
        """Write what was collected while a batch was written. The poll loop finds out what became of a write that failed."""
        succeeded = not write.cancelled() and write.exception() is None
        if succeeded and buffer.write is write and buffer.is_due():
            buffer.take_finished()
            self._start([buffer])

    def _create_write(self, batch: Batch) -> Write:
        return asyncio.create_task(self._writer.write(batch), name="write")

    async def _cancel(self, writes: Set[Write]) -> None:
        """Cancel writes in bounded time: other consumers wait for our partitions.

        The driver asks the server to cancel the statement, so a server that does not respond holds up a cancellation. A write
        that survives does no harm: the next consumer waits for its transaction or ends it, the fence rejects a second one, and
        the writer does not retry it. It is kept until it ends.
        """
        for _ in range(CANCEL_ATTEMPTS):
            for write in writes:
                write.cancel()
            _, writes = await asyncio.wait(writes, timeout=self._cancel_seconds)
            if not writes:
                return
        log.warning("write_outlives_drain", writes=len(writes))
        self._abandoned |= writes
        for write in writes:
            write.add_done_callback(self._forget)

    def _forget(self, write: Write) -> None:
        self._abandoned.discard(write)
        if not write.cancelled() and (error := write.exception()):
            log.warning("abandoned_write_ended", error=repr(error))
