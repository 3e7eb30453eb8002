"""The logs of the assigned partitions: their ends, partitions whose leader does not answer, transactions that stay open."""

import time
from collections.abc import Hashable, Iterable, Mapping
from typing import Final, Generic, TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from consumer.kafka.log_offsets import LogRange, explain, log_ranges
from consumer.monitoring.health import Health
from consumer.monitoring.metrics import Metrics

log = structlog.get_logger(__name__)
Condition = TypeVar("Condition", bound=Hashable)

UNAVAILABLE_AFTER_SECONDS: Final = 10.0  # an election takes less
OPEN_TRANSACTION_LOGGED_AFTER_SECONDS: Final = 60.0  # the default of transaction.timeout.ms in Kafka's own producer


class PartitionLogs:
    """`ranges` has the log of each assigned partition as last seen; `available` the partitions that were seen just now.

    `suspected` are those of them that may have lost records since: their log was away meanwhile, or ends earlier than before.
    """

    def __init__(self, client: AIOKafkaConsumer, metrics: Metrics, health: Health) -> None:
        self._client = client
        self._metrics = metrics
        self._health = health
        self._unavailable: _Durations[TopicPartition] = _Durations()
        self._transactions: _Durations[tuple[TopicPartition, int]] = _Durations()
        self._reported: frozenset[TopicPartition] = frozenset()  # as unavailable
        self._logged: frozenset[tuple[TopicPartition, int]] = frozenset()  # open transactions
        self.ranges: dict[TopicPartition, LogRange] = {}
        self.available: frozenset[TopicPartition] = frozenset()
        self.suspected: frozenset[TopicPartition] = frozenset()
        self._away: frozenset[TopicPartition] = frozenset()  # gave no answer in the last update

    async def update(self) -> None:
        """Ask Kafka for the logs of the assigned partitions; at most TIMEOUT_SECONDS of kafka/log_offsets.py."""
        found, failed = await log_ranges(self._client, self._client.assignment())
        assigned = self._client.assignment()  # a rebalance meanwhile has ended the series of revoked partitions
        found = {each: span for each, span in found.items() if each in assigned}
        failed = {each: error for each, error in failed.items() if each in assigned}
        known = {each: span for each, span in self.ranges.items() if each in assigned}
        self.suspected = (self._away & found.keys()) | {
            each for each in known.keys() & found.keys() if found[each].end < known[each].end
        }
        self._away = frozenset(failed)
        self.ranges = known | found
        self.available = frozenset(found)
        self._report_unavailable(failed)
        self._report_open_transactions(found)

    def _report_unavailable(self, failed: Mapping[TopicPartition, KafkaError]) -> None:
        lasting = {
            partition: explain(failed[partition])
            for partition, seconds in self._unavailable.update(failed).items()
            if seconds >= UNAVAILABLE_AFTER_SECONDS
        }
        for partition in failed.keys() | self.available:
            self._metrics.partition_unavailable.labels(partition.topic, partition.partition).set(partition in lasting)
        names = ", ".join(sorted(f"{each.topic}-{each.partition}: {why}" for each, why in lasting.items()))
        if lasting:
            self._health.block(
                "partition_unavailable", f"Kafka cannot serve some partitions; the others are read: {names}"
            )
        else:
            self._health.unblock("partition_unavailable")
        if lasting.keys() != self._reported:
            log.warning("partitions_unavailable", partitions=names) if lasting else log.info("partitions_available")
            self._reported = frozenset(lasting)

    def _report_open_transactions(self, found: Mapping[TopicPartition, LogRange]) -> None:
        # The last stable offset is that of the oldest open transaction: when it moves, another transaction is the oldest.
        still_open = self._transactions.update(
            (each, span.stable_end) for each, span in found.items() if span.has_open_transaction
        )
        seconds_open = {partition: seconds for (partition, _), seconds in still_open.items()}
        for partition in found:
            self._metrics.open_transaction.labels(partition.topic, partition.partition).set(
                seconds_open.get(partition, 0.0)
            )
        lasting = {each for each, seconds in still_open.items() if seconds >= OPEN_TRANSACTION_LOGGED_AFTER_SECONDS}
        for partition, offset in lasting - self._logged:
            log.warning(
                "transaction_stays_open",
                topic=partition.topic,
                partition=partition.partition,
                offset=offset,
                detail="records from this offset on cannot be read until the producer ends its transaction",
            )
        self._logged = frozenset(lasting)


class _Durations(Generic[Condition]):
    """How long each of some conditions has held without a break."""

    def __init__(self) -> None:
        self._since: dict[Condition, float] = {}

    def update(self, holding: Iterable[Condition]) -> dict[Condition, float]:
        """The seconds for each condition that holds now; 0 for one that did not hold in the last update."""
        now = time.monotonic()
        self._since = {each: self._since.get(each, now) for each in holding}
        return {each: now - since for each, since in self._since.items()}
