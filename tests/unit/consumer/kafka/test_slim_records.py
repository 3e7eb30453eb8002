"""Our slim records, compared with the records of aiokafka."""

import gc
import struct
import weakref
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatchBuilder, _DefaultRecordBatchBuilderPy
from aiokafka.record.memory_records import MemoryRecords

from consumer.kafka.slim_records import BYTES_AT_ONCE, at_most_bytes, install_slim_records
from consumer.records.record import Record
from schemas.tracing.tracer import MAX_LINKS
from tests.support.topics import restore_library_afterwards

PARTITION = TopicPartition("meter-readings", 3)
READ_COMMITTED = 1


@pytest.fixture
def _slim(monkeypatch: pytest.MonkeyPatch) -> None:
    restore_library_afterwards(monkeypatch)
    install_slim_records()


def log_of(*batches: list[bytes | None], first: int, hole: int = 0) -> MemoryRecords:
    """Record batches as a broker sends them, with `hole` offsets missing after each."""
    sent, offset = bytearray(), first
    for values in batches:
        builder = DefaultRecordBatchBuilder(
            magic=2,
            compression_type=3,
            is_transactional=0,
            producer_id=1,
            producer_epoch=0,
            base_sequence=0,
            batch_size=1 << 24,
        )
        for number, value in enumerate(values):
            assert builder.append(number, timestamp=1_000 + number, key=b"M-1", value=value, headers=[("h", b"x")])
        built = bytearray(builder.build())
        struct.pack_into(">q", built, 0, offset)
        sent += built
        offset += len(values) + hole
    return MemoryRecords(bytes(sent))


def unpacked(log: MemoryRecords, start: int) -> tuple[list[object], int]:
    records = fetcher.PartitionRecords(PARTITION, log, [], start, None, None, True, READ_COMMITTED)
    return list(records), records.next_fetch_offset


@pytest.mark.parametrize("start", [10, 12, 14])
def test_slim_records_equal_those_of_the_library(start: int, request: pytest.FixtureRequest) -> None:
    batches: tuple[list[bytes | None], ...] = ([b"{}", None, b"{1}"], [b"", b"{2}"])

    theirs, their_end = unpacked(log_of(*batches, first=10, hole=2), start)
    request.getfixturevalue("_slim")
    ours, our_end = unpacked(log_of(*batches, first=10, hole=2), start)

    assert len(theirs) >= 2
    assert all(type(record) is ConsumerRecord for record in theirs)
    assert ours == [
        Record(TopicPartition(each.topic, each.partition), each.offset, each.timestamp, each.key, each.value)
        for each in theirs
        if isinstance(each, ConsumerRecord)
    ]
    assert our_end == their_end


@pytest.mark.usefixtures("_slim")
def test_a_wrong_checksum_still_raises() -> None:
    log = bytearray()
    builder = DefaultRecordBatchBuilder(2, 0, 0, 1, 0, 0, 1 << 20)
    builder.append(0, timestamp=1, key=None, value=b"{}", headers=[])
    log += builder.build()
    log[-3] ^= 1

    with pytest.raises(Exception, match="CRC"):
        unpacked(MemoryRecords(bytes(log)), 0)


class Assignment:
    """The part of aiokafka's assignment that a fetch result uses."""

    active = True

    def __init__(self, position: int) -> None:
        self.state = SimpleNamespace(paused=False, position=position, consumed_to=self.consume)

    def consume(self, position: int) -> None:
        self.state.position = position

    def state_value(self, partition: TopicPartition) -> SimpleNamespace:
        return self.state


def portions(values: list[bytes | None], max_records: int) -> list[list[int]]:
    """The offsets of each portion until nothing is left, and the position after each."""
    log = log_of(values, first=10)
    records = fetcher.PartitionRecords(PARTITION, log, [], 10, None, None, True, READ_COMMITTED)
    assignment = Assignment(10)
    result: Any = fetcher.FetchResult(PARTITION, assignment=assignment, partition_records=records, backoff=0)
    found = []
    while result.has_more():
        portion = [record.offset for record in result.getall(max_records)]
        found.append(portion)
        assert not portion or assignment.state.position == portion[-1] + 1
    assert assignment.state.position == 10 + len(values)
    return [portion for portion in found if portion]


@pytest.mark.parametrize("max_records", [1, 3, 7, 100])
def test_small_records_are_returned_as_the_library_returns_them(
    max_records: int, request: pytest.FixtureRequest
) -> None:
    values: list[bytes | None] = [b"{}", None, b"", b"{1}", b"{2}", b"{3}", b"{4}"]
    theirs = portions(values, max_records)
    request.getfixturevalue("_slim")
    assert portions(values, max_records) == theirs


@pytest.mark.usefixtures("_slim")
def test_large_records_are_returned_in_portions_of_bounded_size() -> None:
    size = BYTES_AT_ONCE // 4
    assert portions([b"x" * size] * 10, 100) == [[10, 11, 12, 13], [14, 15, 16, 17], [18, 19]]
    assert portions([b"x" * 3 * BYTES_AT_ONCE] * 2, 100) == [[10], [11]]


@pytest.mark.usefixtures("_slim")
def test_the_records_of_all_partitions_share_the_bytes_of_one_call() -> None:
    size, partitions = 262_144, 20
    assignments = [Assignment(10) for _ in range(partitions)]
    results: list[Any] = [
        fetcher.FetchResult(
            PARTITION,
            assignment=each,
            partition_records=fetcher.PartitionRecords(
                PARTITION, log_of([b"x" * size] * 6, first=10), [], 10, None, None, True, READ_COMMITTED
            ),
            backoff=0,
        )
        for each in assignments
    ]
    calls = []
    while any(each.has_more() for each in results):
        with at_most_bytes(5 * size):
            calls.append([len(each.getall(100)) for each in results if each.has_more()])
    assert [sum(call) for call in calls if any(call)] == [5] * 24, "the fifth exceeds the bytes by its key"
    assert [list(filter(None, call)) for call in calls[:6]] == [[5], [1, 4], [2, 3], [3, 2], [4, 1], [5]], "in turn"
    assert [each.state.position for each in assignments] == [16] * partitions


def batch_of(values: list[bytes], first: int, *, codec: int, producer: int = 1, transactional: bool = False) -> bytes:
    """A record batch in which every second record has a header whose name is not UTF-8."""
    builder = _DefaultRecordBatchBuilderPy(2, codec, int(transactional), producer, 0, 0, 1 << 20)

    class NotUtf8(str):
        def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
            return b"\xff\xfe name"

    for number, value in enumerate(values):
        headers = [(NotUtf8("name"), b"x"), ("ok", None)] if number % 2 else []
        assert builder.append(number, timestamp=1_000, key=b"M-1", value=value, headers=headers)
    built = bytearray(builder.build())
    struct.pack_into(">q", built, 0, first)
    return bytes(built)


@pytest.mark.usefixtures("_slim")
@pytest.mark.parametrize("codec", [0, 1, 3])
@pytest.mark.parametrize("start", [10, 12])
def test_header_names_that_are_not_utf8_hold_up_no_record(codec: int, start: int) -> None:
    aborted = batch_of([b"a", b"b"], 10, codec=codec, producer=7, transactional=True)
    data = aborted + batch_of([b"c", b"d", b"e", b"f"], 12, codec=codec) + batch_of([b"g", b"h"], 16, codec=codec)
    transactions = [(7, 10)]
    records = fetcher.PartitionRecords(
        PARTITION, fetcher.MemoryRecords(data), transactions, start, None, None, True, READ_COMMITTED
    )
    assert [(record.offset, record.key, record.value) for record in records] == [
        (offset, b"M-1", value) for offset, value in enumerate([b"c", b"d", b"e", b"f", b"g", b"h"], 12)
    ]
    assert records.next_fetch_offset == 18


def test_the_header_that_names_a_schema_is_kept_of_topics_that_need_it(monkeypatch: pytest.MonkeyPatch) -> None:
    restore_library_afterwards(monkeypatch)
    headers: list[list[tuple[str, bytes | None]]] = [
        [("h", b"x"), ("__value_schema_id", b"\1id")],
        [("__value_schema_id", None)],
        [],
    ]
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=0, is_transactional=0, producer_id=1, producer_epoch=0, base_sequence=0,
        batch_size=1 << 20,
    )  # fmt: skip
    for number, each in enumerate(headers):
        assert builder.append(number, timestamp=1, key=None, value=b"v", headers=each)
    for topics, expected in (({PARTITION.topic}, [b"\1id", None, None]), ((), [None, None, None])):
        install_slim_records(topics)
        records: Any = unpacked(MemoryRecords(bytes(builder.build())), 0)[0]
        assert [each.schema_header for each in records] == expected
        assert records[0].framed_value() == (b"\1idv" if topics else b"v")


@pytest.mark.parametrize("topics", [(), (PARTITION.topic,)])
def test_the_trace_context_of_the_first_records_is_kept_while_traces_are_on(
    topics: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    restore_library_afterwards(monkeypatch)
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=0, is_transactional=0, producer_id=1, producer_epoch=0, base_sequence=0,
        batch_size=1 << 20,
    )  # fmt: skip
    for number in range(2 * MAX_LINKS):
        context = [("traceparent", b"%d" % number)] if number % 2 else []
        headers = [("__value_schema_id", b"id"), *context]
        assert builder.append(number, timestamp=1, key=None, value=b"v", headers=headers)
    log = bytes(builder.build())
    contexts = [b"%d" % number if number % 2 else None for number in range(MAX_LINKS)]
    for traced, expected in ((True, contexts), (False, [None] * MAX_LINKS)):
        install_slim_records(topics, traced=traced)
        records: Any = unpacked(MemoryRecords(log), 0)[0]
        assert [getattr(each, "trace_context", None) for each in records] == expected + [None] * MAX_LINKS
        assert {each.schema_header for each in records} == {b"id" if topics else None}


@pytest.mark.usefixtures("_slim")
def test_what_was_fetched_is_freed_without_a_garbage_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    install_slim_records([PARTITION.topic], traced=True)
    gc.disable()
    try:
        records = fetcher.PartitionRecords(
            PARTITION, log_of([b"{}"], first=10), [], 10, None, None, True, READ_COMMITTED
        )
        fetched = weakref.ref(records)
        assert len(list(records)) == 1
        del records
        assert fetched() is None
    finally:
        gc.enable()
