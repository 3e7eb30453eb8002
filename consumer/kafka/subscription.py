"""The subscription follows the topics: it gains those that appear and loses those that are deleted. Topics are never created."""

import asyncio
from collections.abc import Mapping
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.errors import KafkaError

from consumer.kafka.group_coverage import GroupCoverage
from consumer.monitoring.health import Health
from consumer.monitoring.metrics import Metrics
from consumer.records.record_type import RecordType

log = structlog.get_logger(__name__)

CHECK_SECONDS: Final = 2.0


class Subscription:
    """Subscribes a client to those of our topics that exist.

    Every missing topic is logged; only those of a required record type make the consumer not ready.
    """

    def __init__(
        self,
        client: AIOKafkaConsumer,
        topics: Mapping[str, RecordType],
        listener: ConsumerRebalanceListener,
        coverage: GroupCoverage,
        metrics: Metrics,
        health: Health,
    ) -> None:
        self._client = client
        self._topics = topics
        self._listener = listener
        self._coverage = coverage
        self._metrics = metrics
        self._health = health
        self._subscribed: frozenset[str] = frozenset()
        self._missing: frozenset[str] = frozenset()

    async def run(self) -> None:
        """Follow the topics, and the group's assignment of their partitions, until cancelled."""
        while True:
            existing = await self._existing_topics()
            if existing is not None:
                self._follow(existing)
            await self._coverage.check()
            await asyncio.sleep(CHECK_SECONDS)

    def _follow(self, existing: frozenset[str]) -> None:
        # A client without any topic would leave its group; it keeps the last ones until others can be subscribed to.
        if existing and existing != self._subscribed:
            self._client.subscribe(sorted(existing), listener=self._listener)
            self._subscribed = existing
        missing = self._topics.keys() - existing
        if missing != self._missing:
            if missing:
                log.warning("waiting_for_topics", missing=sorted(missing), reading=sorted(existing))
            self._report([topic for topic in sorted(missing) if self._topics[topic].required])
            self._missing = frozenset(missing)

    def _report(self, missing: list[str]) -> None:
        self._metrics.paused.labels("topics").set(1 if missing else 0)
        if missing:
            self._health.block("topics", f"topics that do not exist: {', '.join(missing)}")
        else:
            self._health.unblock("topics")

    async def _existing_topics(self) -> frozenset[str] | None:
        """Those of our topics that exist; None when Kafka does not answer.

        All topics are listed when one of ours is missing from the client's own metadata, which covers subscribed topics only.
        """
        wanted = self._topics.keys()
        if self._subscribed == wanted and all(self._client.partitions_for_topic(topic) for topic in wanted):
            return self._subscribed
        try:
            return frozenset(wanted & await self._client.topics())
        except KafkaError as error:
            log.warning("topics_unavailable", error=repr(error))
            return None
