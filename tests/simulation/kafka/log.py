"""The log of one partition: records, transaction markers, holes; truncation, retention, and a topic made anew."""

from dataclasses import dataclass, field, replace
from typing import Any

from aiokafka import TopicPartition


@dataclass(slots=True)
class Entry:
    """What has one offset: a record, or a marker (`value` is None). `producer` is set for transactional records."""

    offset: int
    value: bytes | None
    key: bytes | None
    timestamp: int
    producer: int | None = None
    reading: Any = None  # what the oracle knows of the record


@dataclass(slots=True)
class PartitionLog:
    """The log of one incarnation of a partition. Offsets may have holes; `end` is the high watermark."""

    partition: TopicPartition
    incarnation: int = 0
    entries: list[Entry] = field(default_factory=list)
    start: int = 0
    end: int = 0
    leader: bool = True
    elections: int = 0
    absences: int = 0  # of its leader: each ends the connections to it, an election or not
    open_transactions: dict[int, int] = field(default_factory=dict)  # producer -> its first offset
    aborted: set[int] = field(default_factory=set)  # producers
    deleted: list[Entry] = field(default_factory=list)  # by retention: what was fetched before may still be written

    @property
    def last_stable_offset(self) -> int:
        return min(self.open_transactions.values()) if self.open_transactions else self.end

    def append(self, value: bytes, key: bytes, timestamp: int, reading: Any, producer: int | None = None) -> None:
        if producer is not None:
            self.open_transactions.setdefault(producer, self.end)
        self.entries.append(Entry(self.end, value, key, timestamp, producer, reading))
        self.end += 1

    def end_transaction(self, producer: int, *, abort: bool, timestamp: int) -> None:
        """Write a marker. One producer id is used for one transaction."""
        if self.open_transactions.pop(producer, None) is None:
            return
        if abort:
            self.aborted.add(producer)
        self.entries.append(Entry(self.end, None, None, timestamp, producer))
        self.end += 1

    def skip(self, offsets: int) -> None:
        """A hole, as compaction leaves it."""
        self.end += offsets

    def copy(self) -> "PartitionLog":
        """The log as it is now."""
        return replace(
            self,
            entries=list(self.entries),
            open_transactions=dict(self.open_transactions),
            aborted=set(self.aborted),
            deleted=list(self.deleted),
        )

    def truncate(self, end: int) -> list[Entry]:
        """An unclean election: the end of the log is lost. Returns what was lost."""
        lost = [each for each in self.entries if each.offset >= end]
        self.entries = [each for each in self.entries if each.offset < end]
        self.end = max(end, self.start)
        kept = {each.producer for each in self.entries if each.value is not None}
        self.open_transactions = {
            producer: first for producer, first in self.open_transactions.items() if first < end and producer in kept
        }
        for lost_marker in [each for each in lost if each.value is None and each.producer in kept]:
            assert lost_marker.producer is not None
            self.aborted.discard(lost_marker.producer)
            first = next(each.offset for each in self.entries if each.producer == lost_marker.producer)
            self.open_transactions[lost_marker.producer] = first
        return lost

    def delete_before(self, start: int) -> list[Entry]:
        """Retention. Returns what was deleted."""
        start = min(start, self.last_stable_offset)
        deleted = [each for each in self.entries if each.offset < start]
        self.entries = [each for each in self.entries if each.offset >= start]
        self.start = max(self.start, start)
        self.deleted += deleted
        return deleted

    def visible(self, entry: Entry) -> bool:
        """Whether a read_committed consumer gets the entry once it is below the last stable offset."""
        return entry.value is not None and entry.producer not in self.aborted

    def unread(self, position: int) -> list[Entry]:
        """The records from a position on that a read_committed consumer can get now."""
        stable = self.last_stable_offset
        return [each for each in self.entries if position <= each.offset < stable and self.visible(each)]

    def records_between(self, first: int, end: int) -> list[Entry]:
        """The records that there ever were in [first, end), without those of aborted transactions."""
        return [each for each in [*self.deleted, *self.entries] if first <= each.offset < end and self.visible(each)]
