"""Partitions whose leader may have been away since they were verified."""

from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.client import ConnectionGroup
from aiokafka.cluster import ClusterMetadata

from consumer.kafka.fetch_state import LeaderConnections

PARTITION = TopicPartition("meter-readings", 0)


class Cluster(ClusterMetadata):  # type: ignore[misc]
    """Metadata in which the partition is led by the broker of this number; None: there is no such partition."""

    leader: int | None = 1
    _last_successful_refresh_ms = 0.0

    def leader_for_partition(self, _: TopicPartition) -> int | None:
        return self.leader

    def receive(self, leader: int | None) -> None:
        self.leader = leader
        self._last_successful_refresh_ms += 1
        for listener in self._listeners:
            listener(self)


class Client:
    """A client with an open connection to each of two brokers."""

    def __init__(self) -> None:
        self._client = self
        self.cluster = Cluster()
        self._conns: dict[Any, object] = {}
        self.connect(1)
        self.connect(2)

    def connect(self, broker: int) -> None:
        self._conns[broker, ConnectionGroup.DEFAULT] = object()


@pytest.mark.parametrize(
    ("leaders", "reconnects", "changed"),
    [
        ([], False, False),
        ([1, 1], False, False),
        ([], True, True),
        ([2], False, True),
        ([2, 1], False, True),
        ([-1, 1], False, True),
        ([None, 1], False, True),
    ],
    ids=[
        "nothing happens",
        "metadata says the same",
        "another connection",
        "another leader",
        "another leader, and the first one again",
        "no leader for a while",
        "the topic is deleted and made anew",
    ],
)
def test_a_partition_whose_leader_was_away_is_told_until_it_is_remembered_again(
    leaders: list[int | None], *, reconnects: bool, changed: bool
) -> None:
    client: Any = Client()
    connections = LeaderConnections(client)
    connections.remember(PARTITION)
    assert connections.changed([PARTITION]) == set()
    for leader in leaders:
        client.cluster.receive(leader)
    if reconnects:
        client.connect(1)
    assert connections.changed([PARTITION]) == ({PARTITION} if changed else set())
    connections.remember(PARTITION)
    assert connections.changed([PARTITION]) == set()


def test_a_partition_without_a_connection_is_told_once_it_has_one() -> None:
    client: Any = Client()
    client._conns.clear()
    connections = LeaderConnections(client)
    connections.remember(PARTITION)
    assert connections.changed([PARTITION]) == set()
    client.connect(1)
    assert connections.changed([PARTITION]) == {PARTITION}
    connections.remember(PARTITION)
    assert connections.changed([PARTITION]) == set()
