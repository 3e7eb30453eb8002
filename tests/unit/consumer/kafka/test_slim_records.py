"""Our slim records, compared with the records of aiokafka."""

import struct

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from consumer.kafka.slim_records import install_slim_records
from consumer.records.record import Record

PARTITION = TopicPartition("meter-readings", 3)
READ_COMMITTED = 1


@pytest.fixture
def _slim(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetcher, "PartitionRecords", fetcher.PartitionRecords)  # restored afterwards
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
            batch_size=1 << 20,
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
