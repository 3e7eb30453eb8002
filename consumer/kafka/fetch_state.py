"""Where the client stands: the position of each partition after a fetch, and its leader."""

from collections.abc import Iterable

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import FetchError


def fetch_positions(client: AIOKafkaConsumer) -> dict[TopicPartition, int]:
    """The position of each assigned partition: everything before it was returned, or holds no record to return.

    Right after `getmany` has returned, the offsets from the position before it are those that this call has scanned: records,
    transaction markers, records of aborted transactions, and offsets without a record. A partition is left out while its next
    result is an error: aiokafka moves the position past a record that is too large.
    """
    assignment = client._subscription.subscription and client._subscription.subscription.assignment  # noqa: SLF001
    if assignment is None:
        return {}
    positions = {
        partition: state._position  # noqa: SLF001
        for partition, state in assignment._tp_state.items()  # noqa: SLF001
        if state._position is not None  # noqa: SLF001
    }
    for partition, result in client._fetcher._records.items():  # noqa: SLF001
        if type(result) is FetchError:
            positions.pop(partition, None)
    return positions


class Leaders:
    """The leader of each partition as of `remember`, which tells the partitions that have another one since."""

    def __init__(self, client: AIOKafkaConsumer) -> None:
        self._client = client
        self._known: dict[TopicPartition, int] = {}
        self._version = 0.0

    def clear(self) -> None:
        self._known = {}

    def remember(self, partition: TopicPartition) -> None:
        self._known.update(leaders(self._client, [partition]))

    def changed(self, partitions: Iterable[TopicPartition]) -> set[TopicPartition]:
        """Those of the partitions with another leader, once for each change."""
        version = metadata_version(self._client)
        if version == self._version:
            return set()
        self._version = version
        found = leaders(self._client, partitions)
        changed = {each for each, leader in found.items() if self._known.get(each, leader) != leader}
        self._known |= found
        return changed


def metadata_version(client: AIOKafkaConsumer) -> float:
    """A number that changes whenever the client has received the metadata of the cluster."""
    return float(client._client.cluster._last_successful_refresh_ms)  # noqa: SLF001


def leaders(client: AIOKafkaConsumer, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
    """The leader of each partition that has one."""
    found = {each: client._client.cluster.leader_for_partition(each) for each in partitions}  # noqa: SLF001
    return {each: leader for each, leader in found.items() if leader is not None and leader >= 0}
