"""A patch of aiokafka: its clients never ask a broker to create a topic.

A request for the metadata of a topic by name says whether the broker may create the topic, and aiokafka always allows it. With
the broker's default `auto.create.topics.enable=true`, a running client would restore a deleted topic within a second, with the
broker's default number of partitions.
"""

from aiokafka.protocol.metadata import MetadataRequest


def forbid_topic_creation() -> None:
    """Change the default of `allow_auto_topic_creation` for every aiokafka client of this process."""
    MetadataRequest.__init__.__defaults__ = (None, False)
