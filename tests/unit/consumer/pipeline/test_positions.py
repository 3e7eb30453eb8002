"""What is read of a log whose last record is compared with the stored one."""

from typing import Any
from unittest.mock import MagicMock

import msgspec
import pytest
from aiokafka import TopicPartition

from consumer.pipeline.positions import PartitionPositions, Scan
from consumer.records.record import Record, record_hash
from consumer.storage.offsets import LastRecord
from tests.support.records import meter, minute, records

pytestmark = pytest.mark.anyio
PARTITION = TopicPartition("meter-readings", 0)
LOG: list[Record] = records([meter(at=minute(each)) for each in range(10)])
OTHER: list[Record] = records([meter(at=minute(each), kwh=0.9) for each in range(10)])


def last_record(offset: int) -> LastRecord:
    return LastRecord(offset, record_hash(LOG[offset]))


@pytest.mark.parametrize(
    ("fetched", "last", "unread"),
    [
        (LOG[4:], 4, LOG[5:]),
        (LOG[5:], 4, LOG[5:]),
        (LOG[2:], 2, LOG[5:]),
        (LOG[3:], 2, LOG[5:]),
        (LOG[4:5], 4, []),
        ([], 4, []),
        (OTHER[5:], 4, OTHER[5:]),
        (OTHER[4:], 4, None),
        (OTHER[2:4], 2, None),
    ],
    ids=[
        "the same log",
        "the last record was deleted",
        "an earlier version has read on and stored no last record",
        "and the last record was deleted",
        "nothing new",
        "only markers",
        "another log without that offset",
        "another log",
        "another log, far behind",
    ],
)
async def test_records_before_the_next_offset_are_dropped_and_another_log_halts(
    fetched: list[Record], last: int, unread: list[Record] | None
) -> None:
    positions = PartitionPositions(*(MagicMock() for _ in range(6)))
    halted: list[Any] = []
    positions._start = lambda work, partitions, *facts: halted.append((partitions, *facts))  # type: ignore[method-assign]
    scan = Scan(range(5, 10), last_record(last))
    found = positions.unread(PARTITION, scan, fetched)
    assert found == (unread or [])
    expected = f"offset {last} holds another record"
    assert [(partitions, offset) for partitions, offset, _ in halted] == ([({PARTITION}, 5)] if unread is None else [])
    assert all(expected in reason for _, _, reason in halted)


@pytest.mark.parametrize("changed", ["timestamp", "key", "value"])
def test_a_hash_tells_records_apart(changed: str) -> None:
    one = Record(PARTITION, 0, 1, b"k", b"v")
    others = {"timestamp": (None, 2), "key": (None, b"", b"kv"), "value": (None, b"", b"kv")}[changed]
    variants = [msgspec.structs.replace(one, **{changed: each}) for each in others]
    assert len({record_hash(each) for each in [one, *variants]}) == 1 + len(variants)
    assert record_hash(Record(PARTITION, 0, 1, b"ab", b"c")) != record_hash(Record(PARTITION, 0, 1, b"a", b"bc"))
