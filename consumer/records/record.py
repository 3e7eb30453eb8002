"""A Kafka record, reduced to the fields that the consumer uses, and what its timestamp is worth."""

import hashlib
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Final

import msgspec
from aiokafka import TopicPartition

from schemas.records.readings import CLOCK_AHEAD

_key: Final = attrgetter("key")
_value: Final = attrgetter("value")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_EARLIEST_PLAUSIBLE: Final = (datetime(2000, 1, 1, tzinfo=UTC) - _EPOCH) // _MILLISECOND
_CLOCK_AHEAD_MS: Final = CLOCK_AHEAD // _MILLISECOND


class Record(msgspec.Struct, gc=False):
    """`timestamp` is Kafka's: milliseconds since 1970, -1 or None without one, and whatever else a producer has set.

    Records of one fetch share their `topic_partition` object. `schema_header` is the header that names the
    value's schema, of topics whose format asks for it.
    """

    topic_partition: TopicPartition
    offset: int
    timestamp: int | None
    key: bytes | None
    value: bytes | None
    schema_header: bytes | None = None

    def framed_value(self) -> bytes | None:
        """The value as it would be if the producer had not put the id of its schema into a header."""
        return self.value if self.schema_header is None else self.schema_header + (self.value or b"")


class TracedRecord(Record, gc=False):
    """A record with its header `traceparent`: a few of each fetch, while traces are on. A field of every record costs time."""

    trace_context: bytes = b""


def total_size(records: Sequence[Record]) -> int:
    """The bytes of all keys and values."""
    return sum(map(len, filter(None, map(_value, records)))) + sum(map(len, filter(None, map(_key, records))))


def timestamp_as_instant(timestamp: int | None) -> datetime | None:
    """A Kafka timestamp as an instant; None without one, and outside of the years 2 to 9999.

    asyncpg takes the first instant of the year 1 for the infinite past.
    """
    if timestamp is None or timestamp == -1:
        return None
    try:
        instant = _EPOCH + timestamp * _MILLISECOND
    except OverflowError:
        return None
    return instant if instant.year > 1 else None


def plausible_timestamp(timestamp: int | None) -> int | None:
    """A Kafka timestamp that can tell how old a record is; None for one before 2000 or more than five minutes in the future.

    Producers set it, and some count in seconds or microseconds.
    """
    if timestamp is None or timestamp < _EARLIEST_PLAUSIBLE:
        return None
    return timestamp if timestamp <= time.time() * 1000 + _CLOCK_AHEAD_MS else None


def record_hash(record: Record) -> bytes:
    """SHA-256 of a record's timestamp, key and value: tells a record from one that another log has at the same offset."""
    lengths = [None if part is None else len(part) for part in (record.key, record.value)]
    digest = hashlib.sha256(repr((record.timestamp, lengths)).encode())
    digest.update(record.key or b"")
    digest.update(record.value or b"")
    return digest.digest()
