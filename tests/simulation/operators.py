"""The operator: accepts gaps that have halted a partition, and closes breakers, as the commands do it."""

from typing import Any, Final

from aiokafka import TopicPartition

from consumer.pipeline.breaker import INTERNAL_ERROR
from tests.simulation.cluster import Cluster
from tests.simulation.database.statements import STATEMENTS

ROUND_SECONDS: Final = 4.0


class Operator:
    """Looks every few seconds."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._rounds = 0

    def start(self) -> None:
        self._cluster.scheduler.call_later(ROUND_SECONDS, self._look)

    def _look(self) -> None:
        self._rounds += 1
        cluster = self._cluster
        for partition, log in cluster.broker.logs.items():
            row = cluster.server.tables["offsets"].get((partition.topic, partition.partition))
            if row is not None and row.halt_reason:
                self._accept(partition, row.next, log.start)
        for topic, breaker in list(cluster.server.tables["breakers"].items()):
            if breaker.detail.startswith(INTERNAL_ERROR):
                cluster.violate(f"{topic} is stopped: {breaker.detail}")
            if breaker.state == "open":
                cluster.counts["operator lets records through"] += 1
                self._decide("let_through" if self._rounds % 2 else "close_breaker", {"topic": topic})
        cluster.scheduler.call_later(ROUND_SECONDS, self._look)

    def _accept(self, partition: TopicPartition, expected: int, to: int) -> None:
        self._cluster.counts["operator accepts a gap"] += 1
        self._decide(
            "move_offset",
            {
                "topic": partition.topic,
                "partition": partition.partition,
                "expected_offset": expected,
                "to_offset": to,
                "other_log": True,
                "reason": "gap accepted",
            },
        )

    def _decide(self, query: str, given: dict[str, Any]) -> None:
        server = self._cluster.server
        if server.up:
            session = server.connect("operator", lambda error: None)
            server.execute(session, lambda transaction: STATEMENTS[query](transaction, given), lambda *answer: None)
            server.client_left(session)
