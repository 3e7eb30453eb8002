"""A batch: what one transaction writes, and how far it moves each partition."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aiokafka import TopicPartition

from consumer.records.record import Record
from consumer.records.record_type import RecordType, Row
from consumer.records.rows import RowBuffer
from schemas.records.readings import Reason


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that can never become what its topic carries, and why."""

    record: Record
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """What records of one topic have become: rows, the record of each row, and a dead letter for every other record."""

    rows: list[Row]
    records: list[Record]
    dead_letters: list[DeadLetter]


@dataclass(frozen=True, slots=True)
class Span:
    """What a batch takes of one partition: `consumed` records of [expected_offset, next_offset).

    `expected_offset` is where the database must stand for the batch to be ours to write. `oldest` is the Kafka timestamp of
    the first record, in milliseconds since 1970. Offsets may have holes, so `consumed` may be less than their difference.
    `end_offset` is where the partition's log ended when the last of them was taken.
    """

    expected_offset: int
    next_offset: int
    end_offset: int
    consumed: int
    oldest: int


@dataclass(frozen=True, slots=True)
class Batch:
    """One value from decode to commit."""

    spans: Mapping[TopicPartition, Span]
    rows_by_type: Mapping[RecordType, RowBuffer]
    dead_letters: Sequence[DeadLetter]

    def __len__(self) -> int:
        return sum(map(len, (rows_by_type.rows for rows_by_type in self.rows_by_type.values()))) + len(
            self.dead_letters
        )


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of a batch's records, by topic; the ledger's numbers."""

    consumed: Counter[str]
    written: Counter[str]
    duplicates: Counter[str]
    dead_letters: Counter[tuple[str, Reason]]


@dataclass(slots=True)
class BatchBuilder:
    """A batch being collected."""

    opened: float = 0.0
    spans: dict[TopicPartition, Span] = field(default_factory=dict)
    rows_by_type: dict[RecordType, RowBuffer] = field(default_factory=dict)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    records: int = 0

    def __len__(self) -> int:
        return self.records

    def add(
        self,
        partition: TopicPartition,
        position: int,
        records: list[Record],
        end_offset: int,
        record_type: RecordType,
        decoded: Decoded,
    ) -> None:
        """Take records that follow `position` in their partition, whose log ends at `end_offset`, and what they decoded to."""
        if not self.records:
            self.opened = time.monotonic()
        before = self.spans.get(partition)
        if before and before.next_offset != position:
            raise RuntimeError(f"{partition}: records of {position} do not follow those up to {before.next_offset}")
        self.spans[partition] = Span(
            expected_offset=before.expected_offset if before else position,
            next_offset=records[-1].offset + 1,
            end_offset=max(end_offset, records[-1].offset + 1),
            consumed=(before.consumed if before else 0) + len(records),
            oldest=before.oldest if before else records[0].timestamp,
        )
        self.records += len(records)
        if record_type not in self.rows_by_type:
            self.rows_by_type[record_type] = RowBuffer()
        self.rows_by_type[record_type].add(decoded.rows, decoded.records)
        self.dead_letters += decoded.dead_letters

    def build(self) -> Batch:
        """The finished batch."""
        return Batch(self.spans, self.rows_by_type, self.dead_letters)
