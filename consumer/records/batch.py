"""A batch: the rows and dead letters that one transaction writes, and how far it moves the offset of each partition."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from aiokafka import TopicPartition

from consumer.records.record import Record, TracedRecord, plausible_timestamp, total_size
from consumer.records.record_type import RecordType, Row
from consumer.records.row_buffer import RowBuffer
from schemas.records.readings import Reason
from schemas.tracing.tracer import MAX_LINKS


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that cannot be stored as what its topic carries, and why."""

    record: Record
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """Decoded records of one topic: rows, the record of each row, and a dead letter for every other record."""

    rows: list[Row]
    records: list[Record]
    dead_letters: list[DeadLetter]


@dataclass(frozen=True, slots=True)
class Span:
    """The part of one partition that a batch covers: `consumed` records with offsets in [expected_offset, next_offset).

    The batch may be written only while the stored offset equals `expected_offset`. All offsets up to `next_offset` were scanned:
    those without a record held transaction markers, aborted or compacted records, so `consumed` may be 0. `end_offset` is the end
    of the partition's log when the last record was fetched. `oldest` is the Kafka timestamp, in milliseconds since 1970, of the
    first record that has a plausible one; None when no record has. `last_record` is None without any record.
    """

    expected_offset: int
    next_offset: int
    end_offset: int
    consumed: int
    oldest: int | None
    last_record: Record | None = None


class Decoding(NamedTuple):
    """When the first records of a batch began to be decoded and the last ones were, and the time spent on it in between.

    In nanoseconds, the first two since 1970.
    """

    started: int
    ended: int
    busy: int


@dataclass(frozen=True, slots=True)
class Batch:
    """One unit of work from decode to commit. Its length is the number of its records.

    `trace_contexts` are those of some of its records; without traces there are none.
    """

    spans: Mapping[TopicPartition, Span]
    rows_by_type: Mapping[RecordType, RowBuffer]
    dead_letters: Sequence[DeadLetter]
    decoding: Decoding | None = None
    trace_contexts: Sequence[bytes] = ()

    def __len__(self) -> int:
        return sum(len(buffer.rows) for buffer in self.rows_by_type.values()) + len(self.dead_letters)

    def consumed_by_topic(self) -> Counter[str]:
        """The number of consumed records of each topic."""
        consumed: Counter[str] = Counter()
        for partition, span in self.spans.items():
            consumed[partition.topic] += span.consumed
        return consumed


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The outcome for a batch's records, counted by topic: consumed = written + duplicates + dead letters."""

    consumed: Counter[str]
    written: Counter[str]
    duplicates: Counter[str]
    dead_letters: Counter[tuple[str, Reason]]


def count_result(
    consumed: Counter[str], duplicates: Iterable[Record], dead_letters: Iterable[DeadLetter]
) -> BatchResult:
    """Count the outcome of a batch; consumed records that are neither duplicates nor dead letters were written."""
    duplicated = Counter(record.topic_partition.topic for record in duplicates)
    rejected = Counter((letter.record.topic_partition.topic, letter.reason) for letter in dead_letters)
    written = consumed - duplicated
    for (topic, _), count in rejected.items():
        written[topic] -= count
    return BatchResult(consumed, written, duplicated, rejected)


@dataclass(slots=True)
class BatchBuilder:
    """A batch that is being filled.

    `opened` is the monotonic time (s) at which something was added to the empty batch, `size` the bytes of all keys and values.
    """

    opened: float = 0.0
    spans: dict[TopicPartition, Span] = field(default_factory=dict)
    rows_by_type: dict[RecordType, RowBuffer] = field(default_factory=dict)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    records: int = 0
    size: int = 0
    decoding: Decoding | None = None
    trace_contexts: dict[bytes, None] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.records

    @property
    def unread(self) -> int:
        """Offsets behind this batch in the partitions' logs as of the last fetch."""
        return sum(max(0, span.end_offset - span.next_offset) for span in self.spans.values())

    def add(
        self,
        partition: TopicPartition,
        offsets: range,
        records: list[Record],
        end_offset: int,
        record_type: RecordType,
        decoded: Decoded,
    ) -> None:
        """Add a part of a partition that was scanned: its records, if any, and what they were decoded to.

        Args:
            offsets: the offsets that were scanned, beginning with the partition's next offset before these records.
            end_offset: end of the partition's log.

        Raises:
            RuntimeError: the batch holds records of this partition that do not end where the offsets begin, or a record is
                outside of them.
        """
        if not self.spans:
            self.opened = time.monotonic()
        self.spans[partition] = _extend(partition, self.spans.get(partition), offsets, records, end_offset)
        if not records:
            return
        self.records += len(records)
        self.size += total_size(records)
        if record_type not in self.rows_by_type:
            self.rows_by_type[record_type] = RowBuffer()
        self.rows_by_type[record_type].add(decoded.rows, decoded.records)
        self.dead_letters += decoded.dead_letters
        self._add_trace_contexts(records)

    def add_decoding(self, started: int, ended: int) -> None:
        """Add the time in which some of the records were decoded, in nanoseconds since 1970."""
        before = self.decoding or Decoding(started, ended, 0)
        self.decoding = Decoding(before.started, ended, before.busy + ended - started)

    def build(self) -> Batch:
        return Batch(self.spans, self.rows_by_type, self.dead_letters, self.decoding, list(self.trace_contexts))

    def _add_trace_contexts(self, records: list[Record]) -> None:
        """Add the contexts of the first records: only the first ones of a fetch have any, and producers share them."""
        for record in records[: MAX_LINKS - len(self.trace_contexts)]:
            if isinstance(record, TracedRecord):
                self.trace_contexts[record.trace_context] = None


def _extend(
    partition: TopicPartition, before: Span | None, offsets: range, records: list[Record], end_offset: int
) -> Span:
    if before and before.next_offset != offsets.start:
        raise RuntimeError(f"{partition}: offsets from {offsets.start} do not follow those before {before.next_offset}")
    if records and not offsets.start <= records[0].offset <= records[-1].offset < offsets.stop:
        raise RuntimeError(f"{partition}: records {records[0].offset} to {records[-1].offset} are not in {offsets}")
    if before is None:
        before = Span(offsets.start, offsets.start, 0, 0, None)
    return Span(
        expected_offset=before.expected_offset,
        next_offset=offsets.stop,
        end_offset=max(end_offset, offsets.stop),
        consumed=before.consumed + len(records),
        oldest=before.oldest if before.oldest is not None else _oldest_timestamp(records),
        last_record=records[-1] if records else before.last_record,
    )


def _oldest_timestamp(records: Iterable[Record]) -> int | None:
    """The first plausible timestamp, in milliseconds since 1970; Kafka returns records in the order in which they arrived."""
    plausible = (plausible_timestamp(record.timestamp) for record in records)
    return next((each for each in plausible if each is not None), None)
