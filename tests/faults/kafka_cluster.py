"""A Kafka cluster of three brokers, for scenarios that lose one of them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from deploy.stack.jars import kafka_jars
from deploy.stack.kafka import ClusterNode, Kafka, new_cluster_id
from deploy.stack.ports import free_port
from deploy.stack.processes import Processes
from deploy.stack.resolve import clear
from deploy.stack.servers import Servers

BROKERS: Final = 3


@contextmanager
def three_brokers(stack: Servers) -> Iterator[tuple[Servers, dict[int, Kafka]]]:
    """The same PostgreSQL with a new Kafka cluster, and its brokers by number; must be entered outside of an event loop."""
    directory = stack.directory / "three-brokers"
    clear(directory)
    cluster, controllers = new_cluster_id(), tuple(free_port() for _ in range(BROKERS))
    with Processes() as processes:
        brokers = {
            node: Kafka(
                processes,
                directory / str(node),
                kafka_jars(print),
                free_port(),
                ClusterNode(cluster, node, controllers),
            )
            for node in range(1, BROKERS + 1)
        }
        with ThreadPoolExecutor(
            BROKERS
        ) as threads:  # in parallel: a broker answers only when two controllers are running
            list(threads.map(lambda broker: broker.start(), brokers.values()))
        servers = ",".join(broker.bootstrap_servers for broker in brokers.values())
        yield replace(stack, kafka_bootstrap_servers=servers, kafka=None), brokers
    clear(directory)
