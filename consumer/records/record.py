"""A Kafka record, reduced to the fields that the consumer uses."""

import msgspec
from aiokafka import TopicPartition


class Record(msgspec.Struct, gc=False):
    """`timestamp` is Kafka's, in milliseconds since 1970. Records of one fetch share their `topic_partition` object."""

    topic_partition: TopicPartition
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
