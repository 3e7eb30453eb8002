"""Where the client stands: the position of each partition after a fetch, and the connection that it is read over."""

from collections.abc import Iterable
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import ConnectionGroup
from aiokafka.cluster import ClusterMetadata
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


class LeaderConnections:
    """The connection over which each partition is read, as of `remember`; `changed` tells the partitions that have another one.

    A log may have lost records only where its leader was away: another broker leads it, or the same one over a new connection,
    or after metadata in which the partition had another leader or none.
    """

    def __init__(self, client: AIOKafkaConsumer) -> None:
        self._client = client
        self._known: dict[TopicPartition, Any] = {}
        self._seen: Any = None
        client._client.cluster.add_listener(self._forget_moved)  # noqa: SLF001

    def _forget_moved(self, cluster: ClusterMetadata) -> None:
        for partition, (leader, _) in list(self._known.items()):
            if cluster.leader_for_partition(partition) != leader:
                del self._known[partition]

    def clear(self) -> None:
        self._known = {}

    def remember(self, partition: TopicPartition) -> None:
        """From now on the partition is read over its present connection; if it has none, any connection is another one.

        To be called before the client goes to the position at which the partition is verified.
        """
        self._known.pop(partition, None)
        self._known.update(connections(self._client, [partition]))

    def changed(self, partitions: Iterable[TopicPartition]) -> set[TopicPartition]:
        """Those of the partitions that have another connection than the one remembered."""
        seen = cluster_state(self._client)
        if seen == self._seen:
            return set()
        self._seen = seen
        found = connections(self._client, partitions)
        return {each for each, connection in found.items() if self._known.get(each) != connection}


def cluster_state(client: AIOKafkaConsumer) -> Any:
    """A value that changes whenever the client has received the metadata of the cluster, or has opened a connection."""
    return client._client.cluster._last_successful_refresh_ms, dict(client._client._conns)  # noqa: SLF001


def connections(client: AIOKafkaConsumer, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, Any]:
    """The leader of each partition, with the connection over which its records are fetched; without those that have none."""
    leaders = {each: client._client.cluster.leader_for_partition(each) for each in partitions}  # noqa: SLF001
    open_connections = client._client._conns  # noqa: SLF001
    found = {
        each: (leader, open_connections.get((leader, ConnectionGroup.DEFAULT))) for each, leader in leaders.items()
    }
    return {each: connection for each, connection in found.items() if connection[1] is not None}
