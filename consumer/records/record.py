"""A Kafka record, as small as this room needs it.

aiokafka builds a dataclass of eleven fields for each record, which takes longer than decoding its value. After
`keep_records_small` it builds this one instead: one method of one of its classes is replaced, all else (checksums, aborted
transactions, holes) stays the library's. A test holds our records against the library's, so that another release of it cannot
change them unnoticed.
"""

from typing import Any

import msgspec
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher


class Record(msgspec.Struct, gc=False):
    """What is read of a record; `timestamp` is Kafka's, in milliseconds since 1970."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


class _PartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    def _consumer_record(self, partition: TopicPartition, record: Any) -> Record:
        return Record(partition.topic, partition.partition, record.offset, record.timestamp, record.key, record.value)


def keep_records_small() -> None:
    """From now on consumers of this process hand out `Record`."""
    fetcher.PartitionRecords = _PartitionRecords
