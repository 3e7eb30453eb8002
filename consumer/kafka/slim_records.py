"""A patch of aiokafka: its consumers return `Record` instead of `ConsumerRecord`.

aiokafka builds a dataclass of eleven fields for each record, which takes longer than decoding the record's value. The patch
replaces the one method that builds it; checksums, aborted transactions and holes in the offsets are still handled by the
library. A unit test compares our records with the library's, so that a new release of aiokafka cannot change them unnoticed.
"""

from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer import fetcher

from consumer.records.record import Record


class _SlimPartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    def _consumer_record(self, partition: TopicPartition, record: Any) -> Record:
        return Record(partition, record.offset, record.timestamp, record.key, record.value)


def install_slim_records() -> None:
    """Make every aiokafka consumer of this process return `Record`."""
    fetcher.PartitionRecords = _SlimPartitionRecords
