"""Kafka and the topics: waits for what is not there yet, says so, and goes on when it comes."""

import asyncio
from collections.abc import Mapping
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import KafkaError

from consumer.backoff import Backoff
from consumer.monitoring.health import Health
from consumer.monitoring.metrics import Metrics
from consumer.pipeline.rebalance import Assignment
from consumer.records.record import keep_records_small
from consumer.records.record_type import RecordType
from consumer.settings import ConsumerSettings

log = structlog.get_logger(__name__)

LOOK_AGAIN_SECONDS: Final = 2.0


async def connect(settings: ConsumerSettings, health: Health) -> AIOKafkaConsumer:
    """A started consumer that has subscribed to nothing yet; waits for Kafka as long as it takes."""
    keep_records_small()
    backoff = Backoff()
    while True:
        consumer = AIOKafkaConsumer(
            **settings.client_options(),
            group_id=settings.kafka_group_id,
            group_instance_id=settings.kafka_group_instance_id,  # with one, stop() does not leave the group
            client_id="energy-consumer",
            auto_offset_reset="none",  # the database says where to go on; a gap is reported, never jumped
            enable_auto_commit=False,
            isolation_level="read_committed",
            session_timeout_ms=settings.kafka_session_timeout_ms,
            max_poll_interval_ms=settings.kafka_max_poll_interval_ms,
            heartbeat_interval_ms=max(300, settings.kafka_session_timeout_ms // 4),
            metadata_max_age_ms=30_000,
            # the partitions of all topics are dealt out one by one: as many replicas as partitions find work
            partition_assignment_strategy=[RoundRobinPartitionAssignor],
        )
        try:
            await consumer.start()
        except (KafkaError, OSError) as error:
            await consumer.stop()
            health.waits("kafka", settings.unreachable_message())
            log.warning("waiting_for_kafka", servers=settings.kafka_bootstrap_servers, error=str(error))
            await backoff.sleep()
        else:
            health.goes_on("kafka")
            return consumer


async def subscribe(
    consumer: AIOKafkaConsumer,
    kinds: Mapping[str, RecordType],
    assignment: Assignment,
    metrics: Metrics,
    health: Health,
) -> None:
    """Subscribe to the topics that exist, and to the others as they appear. Never makes one: asking for metadata of a topic by
    name would, where brokers create topics on demand, with a number of partitions that nobody chose. Ends when all are there.

    All that is missing is said; a replica is not ready only for those whose kind is needed.
    """
    wanted, subscribed, told = frozenset(kinds), frozenset[str](), frozenset[str]()
    while subscribed != wanted:
        present = wanted & await _existing(consumer)
        if present - subscribed:
            subscribed = subscribed | present
            consumer.subscribe(sorted(subscribed), listener=assignment)
        missing = wanted - subscribed
        if missing != told:
            _report([topic for topic in sorted(missing) if kinds[topic].needed], metrics, health)
            if missing:
                log.warning("waiting_for_topics", missing=sorted(missing), reading=sorted(subscribed))
            told = missing
        if missing:
            await asyncio.sleep(LOOK_AGAIN_SECONDS)


def _report(needed: list[str], metrics: Metrics, health: Health) -> None:
    metrics.paused.labels("topics").set(1 if needed else 0)
    if needed:
        health.waits("topics", f"topics that do not exist yet: {', '.join(needed)}")
    else:
        health.goes_on("topics")


async def _existing(consumer: AIOKafkaConsumer) -> frozenset[str]:
    try:
        return frozenset(await consumer.topics())
    except KafkaError as error:
        log.warning("topics_unknown", error=repr(error))
        return frozenset()
