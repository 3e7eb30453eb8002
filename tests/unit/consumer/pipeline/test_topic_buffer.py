"""When a batch is written: at once where nothing of its topic is in flight, and full where Kafka has enough records for that."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from aiokafka import TopicPartition

from consumer.pipeline import topic_buffer
from consumer.pipeline.topic_buffer import TopicBuffers
from consumer.records import batch as batches
from consumer.records.batch import Batch, BatchResult, Decoded
from consumer.settings import ConsumerSettings
from consumer.storage.errors import FencedError
from consumer.topic_registry import METER_READINGS
from tests.support.records import meter, records

pytestmark = pytest.mark.anyio
TOPIC = "meter-readings"
PARTITION = TopicPartition(TOPIC, 0)
SPAN = tuple[int, int]


class HeldWriter:
    """A batch writer whose writes end as the test says."""

    def __init__(self) -> None:
        self.begun: list[SPAN] = []
        self._outcomes: list[asyncio.Future[None]] = []

    async def write(self, batch: Batch) -> BatchResult:
        span = batch.spans[PARTITION]
        self.begun.append((span.expected_offset, span.next_offset))
        self._outcomes.append(asyncio.get_running_loop().create_future())
        await self._outcomes[-1]
        return BatchResult(Counter(), Counter(), Counter(), Counter())

    async def end_write(self, error: Exception | None = None) -> None:
        outcome = self._outcomes[-1]
        if error:
            outcome.set_exception(error)
        else:
            outcome.set_result(None)
        for _ in range(5):  # the write ends, its callback begins the next one, and that begins
            await asyncio.sleep(0)

    def needs_restart(self, write: Any) -> bool:
        return write.exception() is not None

    def clear_committed(self) -> None: ...


@pytest.fixture
def writer() -> HeldWriter:
    return HeldWriter()


def buffers_of(writer: Any, **settings: Any) -> TopicBuffers:
    return TopicBuffers([TOPIC], writer, ConsumerSettings(**settings))


def add(buffers: TopicBuffers, offset: int, *, log_end: int = 0) -> None:
    builder = buffers.builder(TOPIC)
    builder.add(
        PARTITION,
        range(offset, offset + 1),
        records([meter()], offset=offset),
        log_end,
        METER_READINGS,
        Decoded([], [], []),
    )


async def test_what_arrives_during_a_write_is_written_together_as_soon_as_it_ends(writer: HeldWriter) -> None:
    buffers = buffers_of(writer)
    for offset in range(4):
        add(buffers, offset)
        buffers.start_due_writes()
        await asyncio.sleep(0)
    assert writer.begun == [(0, 1)]
    assert buffers.milliseconds_until_look() == [], "nothing to wake up for: the end of the write begins the next one"
    await writer.end_write()
    assert writer.begun == [(0, 1), (1, 4)]
    assert not buffers.collect_finished()
    await writer.end_write()
    assert writer.begun == [(0, 1), (1, 4)]
    assert not buffers.collect_finished()
    assert not buffers.unwritten_partitions()


async def test_nothing_is_written_after_a_write_that_failed(writer: HeldWriter) -> None:
    buffers = buffers_of(writer)
    for offset in range(2):
        add(buffers, offset)
        buffers.start_due_writes()
        await asyncio.sleep(0)
    await writer.end_write(FencedError([PARTITION]))
    assert writer.begun == [(0, 1)]
    assert buffers.collect_finished()


async def test_nothing_is_written_for_partitions_that_were_revoked_during_a_write(writer: HeldWriter) -> None:
    buffers = buffers_of(writer)
    for offset in range(2):
        add(buffers, offset)
        buffers.start_due_writes()
        await asyncio.sleep(0)
    drain = asyncio.create_task(buffers.drain())
    await asyncio.sleep(0)
    await writer.end_write()
    await drain
    assert writer.begun == [(0, 1)]
    assert not buffers.unwritten_partitions()


@pytest.mark.parametrize(
    ("log_end", "wait_ms", "due_ms"),
    [
        (1, 0, 0),
        (1, 50, 50),
        (1 + 9, 0, topic_buffer.FILL_WAIT_SECONDS * 1000),
        (1 + 8, 0, 0),
        (1 + 9, 2000, 2000),
    ],
    ids=["caught up", "as the setting says", "enough for a full batch", "not enough for one", "the longer of both"],
)
def test_a_batch_waits_only_where_kafka_can_fill_it(
    monkeypatch: pytest.MonkeyPatch, log_end: int, wait_ms: int, due_ms: float
) -> None:
    stopped: Any = type("Stopped", (), {"monotonic": staticmethod(lambda: 100.0)})
    monkeypatch.setattr(topic_buffer, "time", stopped)
    monkeypatch.setattr(batches, "time", stopped)
    buffers = buffers_of(None, batch_max_records=10, batch_max_wait_ms=wait_ms)
    add(buffers, 0, log_end=log_end)
    assert buffers.milliseconds_until_look() == [pytest.approx(due_ms)]


async def test_a_full_topic_is_looked_at_soon_after_its_write_ends(writer: HeldWriter) -> None:
    buffers = buffers_of(writer, batch_max_records=10)
    add(buffers, 0)
    buffers.start_due_writes()
    await asyncio.sleep(0)
    for offset in range(1, 10):
        add(buffers, offset)
    assert not buffers.capacity(TOPIC)
    assert buffers.milliseconds_until_look() == [pytest.approx(topic_buffer.FULL_CHECK_SECONDS * 1000)]
    await writer.end_write()
    assert writer.begun == [(0, 1), (1, 10)]
    assert buffers.milliseconds_until_look() == []
