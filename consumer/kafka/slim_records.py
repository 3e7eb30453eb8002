"""A patch of aiokafka: its consumers return `Record` instead of `ConsumerRecord`, and a bounded number of bytes at once.

aiokafka builds a dataclass of eleven fields for each record, which takes longer than decoding the record's value. The patch
replaces the one method that builds it; checksums, aborted transactions and holes in the offsets are still handled by the
library. A unit test compares our records with the library's, so that a new release of aiokafka cannot change them unnoticed.

Of topics that `install_slim_records` names, a record keeps the header that names its schema. While traces are on, the first
records of what was fetched of a partition keep the header with their trace context; the headers of the others are not looked at.
Header names that are not UTF-8 are accepted (lenient_headers.py).
`getmany` limits the number of records alone, and a mebibyte of compressed records may be a gibibyte of values: within
`at_most_bytes`, one call returns a bounded number of bytes of all partitions together. What was fetched of one partition comes
before the next one, so that a batch holds many readings of few devices.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.consumer import fetcher

from consumer.kafka.lenient_headers import FetchedRecords, LenientRecords
from consumer.records.record import Record, TracedRecord
from schemas.tracing.tracer import MAX_LINKS, TRACEPARENT

SCHEMA_HEADER: Final = "__value_schema_id"
BYTES_AT_ONCE: Final = 1_048_576  # of one partition, outside of `at_most_bytes`; some 8,000 readings


class _Budget:
    """The bytes that a call of `getmany` may still return."""

    def __init__(self, size: int) -> None:
        self.remaining = size


_budget: ContextVar[_Budget | None] = ContextVar("budget", default=None)


@contextmanager
def at_most_bytes(size: int) -> Iterator[None]:
    """Let one `getmany` return no record after `size` bytes of keys and values (more than 0): at most one record more."""
    token = _budget.set(_Budget(size))
    try:
        yield
    finally:
        _budget.reset(token)


class _SlimPartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    topics_with_schemas: frozenset[str] = frozenset()
    traced = False

    def __init__(self, tp: TopicPartition, records: Any, aborted_transactions: Any, *arguments: Any) -> None:
        super().__init__(tp, records, aborted_transactions, *arguments)
        if tp.topic in self.topics_with_schemas:
            self._consumer_record = self._record_with_schema  # type: ignore[method-assign]
        if self.traced:
            self._untraced_record = self._consumer_record
            self._left_to_trace = MAX_LINKS
            self._consumer_record = self._traced_record  # type: ignore[method-assign]
        self._data: bytes | None = getattr(records, "data", None)
        self._aborted_at_first = list(self._aborted_transactions)

    def __next__(self) -> Record:
        try:
            following: Record = super().__next__()
        except UnicodeDecodeError:
            if self._data is None:
                raise
            return self._decode_leniently(self._data)
        except StopIteration:
            self._release_methods()
            raise
        return following

    def _decode_leniently(self, data: bytes) -> Record:
        """Start again at the first batch; the first record that was not returned before."""
        self._data, position = None, self.next_fetch_offset
        self._records = LenientRecords(data)
        self._aborted_transactions: list[Any] = self._aborted_at_first
        self._aborted_producers = set[int]()
        self._records_iterator = self._unpack_records()
        following: Record = super().__next__()
        while following.offset < position:  # aborted batches before it have set `next_fetch_offset` back
            following = super().__next__()
        return following

    def _consumer_record(self, partition: TopicPartition, record: Any) -> Record:
        return Record(partition, record.offset, record.timestamp, record.key, record.value)

    def _record_with_schema(self, partition: TopicPartition, record: Any) -> Record:
        schema = _header(record, SCHEMA_HEADER)
        return Record(partition, record.offset, record.timestamp, record.key, record.value, schema)

    def _traced_record(self, partition: TopicPartition, record: Any) -> Record:
        self._left_to_trace -= 1
        if not self._left_to_trace:
            self._consumer_record = self._untraced_record  # type: ignore[method-assign]
        plain = self._untraced_record(partition, record)
        context = _header(record, TRACEPARENT)
        if context is None:
            return plain
        return TracedRecord(
            partition, plain.offset, plain.timestamp, plain.key, plain.value, plain.schema_header, trace_context=context
        )

    def _release_methods(self) -> None:
        """Drop the methods chosen for these records: a reference cycle, it would keep what was fetched until a collection."""
        for name in ("_consumer_record", "_untraced_record"):
            self.__dict__.pop(name, None)


def _header(record: Any, name: str) -> bytes | None:
    """The value of the first header of this name."""
    return next((value for each, value in record.headers if each == name), None) if record.headers else None


class _BoundedFetchResult(fetcher.FetchResult):  # type: ignore[misc]
    def getall(self, max_records: int | None = None) -> list[Record]:
        """At most `max_records` of what was fetched from the partition, none after the end of the budget."""
        budget = _budget.get() or _Budget(BYTES_AT_ONCE)
        if budget.remaining <= 0 or not self.check_assignment(self._topic_partition) or not self.has_more():
            return []
        records: list[Record] = []
        for record in self._partition_records:
            records.append(record)
            budget.remaining -= len(record.value or b"") + len(record.key or b"")
            if budget.remaining <= 0 or len(records) == max_records:
                self._update_position()
                return records
        self._update_position()
        self._partition_records: Any = None
        return records


def install_slim_records(topics_with_schemas: Iterable[str] = (), *, traced: bool = False) -> None:
    """Make every aiokafka consumer of this process return `Record`, and bounded portions of what was fetched."""
    _SlimPartitionRecords.topics_with_schemas = frozenset(topics_with_schemas)
    _SlimPartitionRecords.traced = traced
    fetcher.PartitionRecords = _SlimPartitionRecords
    fetcher.FetchResult = _BoundedFetchResult
    fetcher.MemoryRecords = FetchedRecords
