"""The subscription: topics are subscribed to as they appear, and never created."""

import asyncio
from collections.abc import Mapping
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.errors import KafkaError

from consumer.monitoring.health import Health
from consumer.monitoring.metrics import Metrics
from consumer.records.record_type import RecordType

log = structlog.get_logger(__name__)

CHECK_SECONDS: Final = 2.0


async def subscribe(
    client: AIOKafkaConsumer,
    topics: Mapping[str, RecordType],
    listener: ConsumerRebalanceListener,
    metrics: Metrics,
    health: Health,
) -> None:
    """Subscribe to the topics that exist, then to the others as they appear; return once all are subscribed to.

    All topics are listed instead of asking for metadata by name: that would create a missing topic on brokers that create topics
    on demand, with a number of partitions that nobody chose. Every missing topic is logged; only those of a required record type
    make the consumer not ready.
    """
    wanted, subscribed, reported = frozenset(topics), frozenset[str](), frozenset[str]()
    while subscribed != wanted:
        present = wanted & await _existing_topics(client)
        if present - subscribed:
            subscribed = subscribed | present
            client.subscribe(sorted(subscribed), listener=listener)
        missing = wanted - subscribed
        if missing != reported:
            _report([topic for topic in sorted(missing) if topics[topic].required], metrics, health)
            if missing:
                log.warning("waiting_for_topics", missing=sorted(missing), reading=sorted(subscribed))
            reported = missing
        if missing:
            await asyncio.sleep(CHECK_SECONDS)


def _report(missing: list[str], metrics: Metrics, health: Health) -> None:
    metrics.paused.labels("topics").set(1 if missing else 0)
    if missing:
        health.block("topics", f"topics that do not exist yet: {', '.join(missing)}")
    else:
        health.unblock("topics")


async def _existing_topics(client: AIOKafkaConsumer) -> frozenset[str]:
    try:
        return frozenset(await client.topics())
    except KafkaError as error:
        log.warning("topics_unavailable", error=repr(error))
        return frozenset()
