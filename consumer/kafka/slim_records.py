"""A patch of aiokafka: its consumers return `Record` instead of `ConsumerRecord`, and a bounded number of bytes at once.

aiokafka builds a dataclass of eleven fields for each record, which takes longer than decoding the record's value. The patch
replaces the one method that builds it; checksums, aborted transactions and holes in the offsets are still handled by the
library. A unit test compares our records with the library's, so that a new release of aiokafka cannot change them unnoticed.

`getmany` limits the number of records alone, and a mebibyte of compressed records may be a gibibyte of values.
"""

from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.consumer import fetcher

from consumer.records.record import Record

BYTES_AT_ONCE: Final = 1_048_576  # of one partition; some 8,000 readings


class _SlimPartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    def _consumer_record(self, partition: TopicPartition, record: Any) -> Record:
        return Record(partition, record.offset, record.timestamp, record.key, record.value)


class _BoundedFetchResult(fetcher.FetchResult):  # type: ignore[misc]
    def getall(self, max_records: int | None = None) -> list[Record]:
        """At most `max_records` of what was fetched from the partition, and no more after BYTES_AT_ONCE."""
        if not self.check_assignment(self._topic_partition) or not self.has_more():
            return []
        records: list[Record] = []
        size = 0
        for record in self._partition_records:
            records.append(record)
            size += len(record.value or b"") + len(record.key or b"")
            if size >= BYTES_AT_ONCE or len(records) == max_records:
                self._update_position()
                return records
        self._update_position()
        self._partition_records: Any = None
        return records


def install_slim_records() -> None:
    """Make every aiokafka consumer of this process return `Record`, and bounded portions of what was fetched."""
    fetcher.PartitionRecords = _SlimPartitionRecords
    fetcher.FetchResult = _BoundedFetchResult
