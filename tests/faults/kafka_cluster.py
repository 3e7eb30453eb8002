"""A Kafka cluster of three brokers, for tests and scenarios that lose one of them."""

import asyncio
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from aiokafka.admin import NewTopic
from aiokafka.errors import KafkaError

from deploy.stack.jars import kafka_jars
from deploy.stack.kafka import ClusterNode, Kafka, new_cluster_id
from deploy.stack.ports import free_port
from deploy.stack.processes import Processes
from deploy.stack.resolve import clear
from deploy.stack.servers import Servers
from tests.support.topics import kafka_admin
from tests.support.waiting import until

BROKERS: Final = 3


@dataclass(frozen=True, slots=True)
class Cluster:
    """`stack` is the same PostgreSQL with the cluster as its Kafka; `brokers` are the brokers by number."""

    stack: Servers
    brokers: dict[int, Kafka]

    def restore(self) -> None:
        """Starts the brokers that are down and waits until topics can be created on all; not to be called in an event loop."""
        _start(each for each in self.brokers.values() if each.process is None or each.process.poll() is not None)
        asyncio.run(self._until_whole())

    async def _until_whole(self) -> None:
        probe = NewTopic("probe", 1, len(self.brokers))  # only the active controller can validate it

        async def whole() -> Any:
            try:
                async with kafka_admin(self.stack.kafka_bootstrap_servers) as admin:
                    answer = await admin.create_topics([probe], validate_only=True)
            except (KafkaError, TimeoutError):
                return False
            return [code for _, code, _ in answer.topic_errors] == [0]

        await until(whole, f"the controller can place a topic on {len(self.brokers)} brokers", every=0.2)


@contextmanager
def three_brokers(stack: Servers) -> Iterator[Cluster]:
    """A new Kafka cluster that is whole; must be entered outside of an event loop."""
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
        servers = ",".join(broker.bootstrap_servers for broker in brokers.values())
        running = Cluster(replace(stack, kafka_bootstrap_servers=servers, kafka=None), brokers)
        running.restore()
        yield running
        for broker in brokers.values():  # the last two would wait for each other to hand over what they lead
            broker.kill()
    clear(directory)


def _start(brokers: Iterable[Kafka]) -> None:
    with ThreadPoolExecutor(BROKERS) as threads:  # in parallel: a broker answers only when two controllers are running
        list(threads.map(lambda broker: broker.start(), brokers))
