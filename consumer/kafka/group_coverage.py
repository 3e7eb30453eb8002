"""Partitions that no member of the group holds, and the rebalance that assigns them.

Only the leader of the group watches the partition counts of topics: it rejoins when one changes, which starts a rebalance. A
static member that returns gets its previous partitions without a rebalance, and does not learn that it is the leader. From then
on no member watches, and new partitions are never assigned. Neither are those of a topic that a returning static member has newly
subscribed to. So each member compares the assignments of the group with the partitions that exist, once for each generation and
each change of the partitions.
"""

import asyncio
import time
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from consumer.kafka.client import METADATA_MAX_AGE_SECONDS, request_rebalance
from consumer.kafka.group_members import STABLE, describe_group
from consumer.monitoring.metrics import Metrics
from consumer.settings import ConsumerSettings

log = structlog.get_logger(__name__)

RESPONSE_TIMEOUT_SECONDS: Final = 5.0
# By then every member knows the new partitions: a leader that watches has started the rebalance by itself, and the leader of a
# rebalance that we request assigns the new partitions, too.
GRACE_SECONDS: Final = METADATA_MAX_AGE_SECONDS + 5.0
LONGEST_GRACE_SECONDS: Final = 600.0


class GroupCoverage:
    """Compares the assignments of the whole group with the partitions of the topics that this process has subscribed to."""

    def __init__(self, settings: ConsumerSettings, client: AIOKafkaConsumer, metrics: Metrics) -> None:
        self._settings = settings
        self._client = client
        self._metrics = metrics
        self._covered: tuple[int, frozenset[TopicPartition]] | None = (
            None  # the generation and partitions found complete
        )
        self._unassigned: frozenset[TopicPartition] = frozenset()
        self._request_at = 0.0  # a monotonic clock, in seconds; only with unassigned partitions
        self._grace = GRACE_SECONDS

    async def check(self) -> None:
        """Report unassigned partitions, and request a rebalance when they stay unassigned; to be called every few seconds."""
        partitions = self._existing_partitions()
        seen = (self._client._coordinator.generation, partitions)  # noqa: SLF001
        if not partitions:
            self._metrics.unassigned_partitions.clear()
        if seen == self._covered or not partitions:
            return
        try:
            async with asyncio.timeout(RESPONSE_TIMEOUT_SECONDS):
                group = await describe_group(self._settings)
        except (KafkaError, OSError, TimeoutError) as error:
            self._metrics.unassigned_partitions.clear()  # unknown: what was found before must not keep an alert firing
            log.debug("group_description_unavailable", error=repr(error))
            return
        if group.state != STABLE:
            return
        self._report(partitions - group.holders().keys(), partitions)
        if not self._unassigned:
            self._covered, self._grace = seen, GRACE_SECONDS
        elif time.monotonic() >= self._request_at:
            self._request_rebalance()

    def _existing_partitions(self) -> frozenset[TopicPartition]:
        return frozenset(
            TopicPartition(topic, partition)
            for topic in self._client.subscription()
            for partition in self._client.partitions_for_topic(topic) or ()
        )

    def _report(self, unassigned: frozenset[TopicPartition], partitions: frozenset[TopicPartition]) -> None:
        self._metrics.unassigned_partitions.clear()  # topics that are not subscribed to any more
        for topic in {each.topic for each in partitions}:
            number = sum(each.topic == topic for each in unassigned)
            self._metrics.unassigned_partitions.labels(topic).set(number)
        if unassigned != self._unassigned:
            names = sorted(f"{each.topic}-{each.partition}" for each in unassigned)
            log.warning("partitions_unassigned", partitions=names) if names else log.info("all_partitions_assigned")
            self._unassigned, self._request_at = unassigned, time.monotonic() + self._grace

    def _request_rebalance(self) -> None:
        """Request a rebalance; if it does not help, the next one is requested after twice the time."""
        log.warning("rebalance_requested", reason="partitions are not assigned to any consumer of the group")
        request_rebalance(self._client)
        self._grace = min(2 * self._grace, LONGEST_GRACE_SECONDS)
        self._request_at = time.monotonic() + self._grace
