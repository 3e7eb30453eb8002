"""A Kafka cluster of three brokers, which tests kill."""

from collections.abc import Iterator

import pytest

from deploy.stack.servers import Servers
from tests.faults.kafka_cluster import Cluster, three_brokers


@pytest.fixture(scope="package")
def shared_cluster(stack: Servers) -> Iterator[Cluster]:
    with three_brokers(stack) as running:
        yield running


@pytest.fixture
def cluster(shared_cluster: Cluster) -> Cluster:
    """Every test gets all brokers running, whatever an earlier test has left."""
    shared_cluster.restore()
    return shared_cluster
