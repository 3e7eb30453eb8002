"""The comparison of a log with the last record that was taken from it."""

import msgspec
import pytest
from aiokafka import TopicPartition

from consumer.pipeline.log_identity import OtherLogError, Rereading
from consumer.records.record import Record, record_hash
from consumer.storage.offsets import LastRecord
from tests.support.records import meter, minute, records

PARTITION = TopicPartition("meter-readings", 0)
LOG: list[Record] = records([meter(at=minute(each)) for each in range(10)])
OTHER: list[Record] = records([meter(at=minute(each), kwh=0.9) for each in range(10)])
NEXT = 5
AT_LAST_RECORD = Rereading(3, LastRecord(3, record_hash(LOG[3])))  # with a marker behind it
AT_MARKER = Rereading(4, None)


@pytest.mark.parametrize(
    ("rereading", "fetched", "position", "left"),
    [
        (AT_LAST_RECORD, [LOG[3], *LOG[5:]], 10, None),
        (AT_LAST_RECORD, [LOG[3]], 5, None),
        (AT_LAST_RECORD, [], 3, AT_LAST_RECORD),
        (AT_LAST_RECORD, [LOG[3]], 4, AT_MARKER),
        (AT_MARKER, [], 5, None),
        (AT_MARKER, LOG[5:7], 7, None),
        (AT_MARKER, [], 4, AT_MARKER),
    ],
    ids=[
        "to new records",
        "to the next offset",
        "nothing was fetched",
        "to a marker",
        "over the last marker",
        "over the last marker, to new records",
        "nothing was fetched behind the last record",
    ],
)
def test_the_same_log_is_read_on(
    rereading: Rereading, fetched: list[Record], position: int, left: Rereading | None
) -> None:
    assert rereading.proceed(fetched, position, NEXT) == left


@pytest.mark.parametrize(
    ("rereading", "fetched", "position", "finding"),
    [
        (AT_LAST_RECORD, OTHER[3:], 10, "offset 3 holds another record"),
        (AT_LAST_RECORD, LOG[4:], 10, "offset 3 holds no record any more"),
        (AT_LAST_RECORD, LOG[5:], 10, "offset 3 holds no record any more"),
        (AT_LAST_RECORD, [], 4, "offset 3 holds no record any more"),
        (AT_LAST_RECORD, LOG[3:5], 5, "offset 4 holds a record that was not there"),
        (AT_MARKER, LOG[4:], 10, "offset 4 holds a record that was not there"),
    ],
    ids=[
        "another record",
        "a record only behind it",
        "new records only",
        "a marker in its place",
        "a record in place of the marker",
        "a record in place of the marker, one fetch later",
    ],
)
def test_another_log_is_told(rereading: Rereading, fetched: list[Record], position: int, finding: str) -> None:
    with pytest.raises(OtherLogError, match=finding):
        rereading.proceed(fetched, position, NEXT)


@pytest.mark.parametrize("changed", ["timestamp", "key", "value"])
def test_a_hash_tells_records_apart(changed: str) -> None:
    one = Record(PARTITION, 0, 1, b"k", b"v")
    others = {"timestamp": (None, 2), "key": (None, b"", b"kv"), "value": (None, b"", b"kv")}[changed]
    variants = [msgspec.structs.replace(one, **{changed: each}) for each in others]
    assert len({record_hash(each) for each in [one, *variants]}) == 1 + len(variants)
    assert record_hash(Record(PARTITION, 0, 1, b"ab", b"c")) != record_hash(Record(PARTITION, 0, 1, b"a", b"bc"))
