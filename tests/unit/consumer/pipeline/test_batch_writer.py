"""The batch writer against a store that fails: what is retried, what is raised, and what is asked in between."""

import asyncio
import gc
import weakref
from collections import Counter
from collections.abc import Mapping
from typing import Any

import asyncpg
import pytest
from aiokafka import TopicPartition

from consumer.monitoring.health import Health
from consumer.monitoring.metrics import Metrics
from consumer.pipeline import batch_writer
from consumer.pipeline.batch_writer import BatchWriter, TopicStoppedError, WriteAbandonedError
from consumer.pipeline.breaker import Breaker
from consumer.pipeline.topic_buffer import TopicBuffers
from consumer.records.batch import Batch, BatchResult, Decoded
from consumer.settings import ConsumerSettings
from consumer.storage.errors import CommitOutcomeUnknownError, FencedError
from consumer.storage.offsets import StoredOffset
from consumer.topic_registry import METER_READINGS
from schemas.records.readings import Reason
from tests.support.records import batch, meter, minute, records
from tests.unit.consumer.storage.test_errors import database_error

pytestmark = pytest.mark.anyio
METERS = TopicPartition("meter-readings", 0)
WRITTEN = BatchResult(Counter({"meter-readings": 2}), Counter({"meter-readings": 2}), Counter(), Counter())
LOST = ConnectionResetError("the connection is lost")
UNKNOWN = CommitOutcomeUnknownError(WRITTEN)


class ScriptedStore:
    """A store whose attempts end as scripted; offsets move with every attempt that writes."""

    def __init__(self, *outcomes: BaseException | BatchResult | str) -> None:
        self.outcomes = list(outcomes)
        self.offset = 0
        self.asked = 0
        self.attempts = 0

    async def write(self, written: Batch) -> BatchResult:
        self.attempts += 1
        span = written.spans[METERS]
        if self.offset != span.expected_offset:
            raise FencedError([METERS])
        outcome = self.outcomes.pop(0)
        if outcome == "committed, response lost":
            self.offset = span.next_offset
            raise UNKNOWN
        if isinstance(outcome, BaseException):
            raise outcome
        assert isinstance(outcome, BatchResult)
        self.offset = span.next_offset
        return outcome

    async def read(
        self, partitions: Mapping[TopicPartition, Any], *, evict: bool = True
    ) -> dict[TopicPartition, StoredOffset]:
        assert not evict, "the partitions may belong to another consumer"
        self.asked += 1
        if self.asked == 1:
            raise LOST
        return {METERS: StoredOffset(self.offset)}


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumer.retry.FIRST_WAIT_SECONDS", 0.0)
    monkeypatch.setattr("consumer.retry.LONGEST_WAIT_SECONDS", 0.0)


@pytest.fixture
def settings() -> ConsumerSettings:
    return ConsumerSettings(breaker_window_records=10, kafka_session_timeout_ms=1000)


def writer_of(store: Any, settings: ConsumerSettings) -> BatchWriter:
    metrics, health = Metrics(), Health()
    return BatchWriter(store, store, Breaker(None, settings, metrics, health), metrics, health)  # type: ignore[arg-type]


def two_records() -> Batch:
    return batch(records([meter(at=minute(0)), meter(at=minute(1))]))


@pytest.mark.parametrize(
    ("outcomes", "asked"),
    [
        ([WRITTEN], 0),
        ([LOST, database_error("57P01"), database_error("42P01"), WRITTEN], 0),
        ([UNKNOWN, WRITTEN], 2),
        ([UNKNOWN, UNKNOWN, UNKNOWN, WRITTEN], 4),
        (["committed, response lost"], 2),
        ([UNKNOWN, LOST, "committed, response lost"], 3),
    ],
)
async def test_a_batch_is_written_once_and_counted_once_whatever_happens_to_the_database(
    settings: ConsumerSettings, outcomes: list[Any], asked: int
) -> None:
    store = ScriptedStore(*outcomes)
    writer = writer_of(store, settings)
    assert await writer.write(two_records()) == WRITTEN
    assert store.offset == 2
    assert store.asked == asked, "the stored offsets are asked after every unknown outcome, and until they are known"
    assert store.attempts == len(outcomes)
    assert writer.committed == {METERS: 2}
    assert writer._health.ready().keys() == {"starting"}


async def test_a_write_that_is_locked_out_ends_the_session_of_a_lost_consumer(
    settings: ConsumerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, evicted = ScriptedStore(asyncpg.LockNotAvailableError("lock timeout"), WRITTEN), []

    async def read(partitions: Mapping[TopicPartition, Any], *, evict: bool = True) -> dict[TopicPartition, Any]:
        evicted.append((set(partitions), evict))
        return {}

    monkeypatch.setattr(store, "read", read)
    assert await writer_of(store, settings).write(two_records()) == WRITTEN
    assert evicted == [({METERS}, True)]


@pytest.mark.parametrize(
    "error", [ValueError("year 58878"), KeyError("x"), asyncpg.DataError("invalid input for query argument $7")]
)
async def test_an_error_of_our_own_code_stops_the_topic_at_once_and_is_not_blamed_on_the_database(
    settings: ConsumerSettings, error: Exception
) -> None:
    store = ScriptedStore(error)
    writer = writer_of(store, settings)
    write = asyncio.create_task(writer.write(two_records()))
    await asyncio.wait({write})
    assert isinstance(write.exception(), TopicStoppedError)
    assert writer.needs_restart(write)
    assert store.attempts == 1
    assert writer.committed == {}
    assert writer._breaker.stopped.keys() == {"meter-readings"}
    assert writer._breaker.stopped["meter-readings"].startswith(f"internal_error: {type(error).__name__}")
    assert writer._health.ready().keys() == {"starting", "breaker_open"}


async def test_an_error_after_the_commit_stops_the_topic_too(
    settings: ConsumerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = writer_of(ScriptedStore(WRITTEN), settings)
    monkeypatch.setattr(writer, "_report_written", None)
    with pytest.raises(TopicStoppedError):
        await writer.write(two_records())
    assert writer._breaker.stopped.keys() == {"meter-readings"}


async def test_a_write_that_outlives_a_revocation_stops_no_topic(settings: ConsumerSettings) -> None:
    class Revoked(ScriptedStore):
        async def write(self, written: Batch) -> BatchResult:
            writer.clear_committed()
            raise TypeError

    writer = writer_of(Revoked(), settings)
    with pytest.raises(WriteAbandonedError):
        await writer.write(two_records())
    assert writer._breaker.stopped == {}


async def test_a_fenced_batch_is_freed_without_a_garbage_collection(settings: ConsumerSettings) -> None:
    store = ScriptedStore()
    store.offset = 5
    writer = writer_of(store, settings)

    class Weak(dict[TopicPartition, Any]):
        pass

    fenced = Batch(Weak(two_records().spans), {}, [])
    freed = weakref.ref(fenced.spans)
    write = asyncio.create_task(writer.write(fenced))
    del fenced
    await asyncio.wait({write})
    gc.disable()
    try:
        assert writer.needs_restart(write)
        del write
        assert freed() is None
    finally:
        gc.enable()


async def test_a_write_that_outlives_a_revocation_leaves_no_committed_offset_and_is_not_retried(
    settings: ConsumerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    survivor = writer_of(ScriptedStore(LOST, WRITTEN), settings)

    def revoked_meanwhile(error: BaseException) -> str:
        survivor.clear_committed()
        return "connection"

    monkeypatch.setattr(batch_writer, "retry_cause", revoked_meanwhile)
    with pytest.raises(WriteAbandonedError):
        await survivor.write(two_records())
    assert survivor.committed == {}


async def test_a_drain_ends_within_the_session_time_out_and_keeps_track_of_writes_that_survive_it(
    settings: ConsumerSettings,
) -> None:
    stubborn, cancelled = asyncio.Event(), 0

    class Stubborn(ScriptedStore):
        async def write(self, written: Batch) -> BatchResult:
            nonlocal cancelled
            while not stubborn.is_set():
                try:
                    await stubborn.wait()
                except asyncio.CancelledError:
                    cancelled += 1
            return WRITTEN

    writer = writer_of(Stubborn(), settings)
    buffers = TopicBuffers(["meter-readings"], writer, settings)
    builder, fetched = buffers.builder("meter-readings"), records([meter()])
    built = batch(fetched)
    builder.spans, builder.rows_by_type, builder.records = dict(built.spans), dict(built.rows_by_type), 1
    buffers.start_all_writes()
    (write,) = buffers.writes_in_flight()
    await asyncio.wait_for(buffers.drain(), settings.kafka_session_timeout_ms / 1000)
    assert cancelled >= 2
    assert not write.done()
    stubborn.set()
    assert await write == WRITTEN
    assert writer.committed == {}, "the partitions may belong to another consumer"


async def test_a_topic_whose_records_mostly_fail_to_be_written_opens_its_breaker(settings: ConsumerSettings) -> None:
    refused = Counter({("meter-readings", Reason.INTERNAL_ERROR): 2})
    failing = BatchResult(Counter({"meter-readings": 2}), Counter(), Counter(), refused)
    store = ScriptedStore(*[failing] * 6)
    writer = writer_of(store, settings)
    for number in range(6):
        writer._breaker.record("meter-readings", 2, 0)
        await writer.write(batch(records([meter(), meter()], offset=2 * number)))
    assert "meter-readings" in writer._breaker.stopped


@pytest.mark.parametrize(("size", "full_after"), [(100, 8), (2_000_000, 2)])
def test_a_batch_is_full_by_records_or_by_bytes(size: int, full_after: int) -> None:
    settings = ConsumerSettings(batch_max_records=8, batch_max_bytes=8_388_608)
    buffers = TopicBuffers(["meter-readings"], None, settings)  # type: ignore[arg-type]
    builder, added = buffers.builder("meter-readings"), 0
    while buffers.capacity("meter-readings"):
        fetched = records([b"x" * size], offset=added)
        builder.add(METERS, range(added, added + 1), fetched, 0, METER_READINGS, Decoded([], [], []))
        added += 1
    assert added == full_after
    assert buffers.milliseconds_until_look() == [0]
