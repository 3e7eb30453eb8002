"""Rebalances: partitions are drained before they are revoked, and restored after they are assigned.

revoked  -> PartitionPositions.revoke_all -> TopicBuffers.drain: discard what is buffered, wait a third of the session time-out
            for the writes in flight, cancel the rest
assigned -> pause -> PartitionPositions.restore: read the stored offsets, seek, resume

A batch that is in COMMIT while its partitions are revoked is neither lost nor written twice, because its rows and its offsets are
one transaction (storage/store.py):
- COMMIT responds within the drain: the batch is written.
- The connection breaks within the drain: BatchWriter reads the stored offsets. They show whether the batch was committed; if it
  was not, the batch is written again.
- The server does not respond: the write is cancelled, and its outcome stays unknown. The next consumer of the partition reads
  the stored offsets FOR UPDATE (storage/offsets.py), so it waits for the old transaction, and terminates the session of that one
  after five seconds. Then it finds the old offset, and Kafka sends the records again; or the new one, and it continues there.
- A write that outlives the drain, as that of a frozen process does, meets the fence (storage/ledger.py): of two transactions that
  expect the same offset, only one can move it. docs/decisions/0002 tells the story of a frozen consumer.
"""

import asyncio
from collections.abc import Iterable
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition

from consumer.kafka.static_membership import InstanceIdTakenError, StaticMembership
from consumer.monitoring.health import Health
from consumer.monitoring.metrics import Metrics
from consumer.pipeline.positions import PartitionPositions

log = structlog.get_logger(__name__)

# The position of a paused partition until its stored offset is read. Without any position aiokafka would ask Kafka for one, would
# fetch nothing from the other partitions of that broker meanwhile, and might even stop fetching (kafka/client.py, check_alive).
# So every commit to Kafka must name its offsets.
PLACEHOLDER_OFFSET: Final = 0


class RebalanceListener(ConsumerRebalanceListener):  # type: ignore[misc]
    """The callbacks of the group protocol. aiokafka logs and swallows what they raise, so `raise_failure` raises it later."""

    def __init__(
        self,
        client: AIOKafkaConsumer,
        positions: PartitionPositions,
        membership: StaticMembership,
        metrics: Metrics,
        health: Health,
    ) -> None:
        self._client = client
        self._positions = positions
        self._membership = membership
        self._metrics = metrics
        self._health = health
        self._failure: BaseException | None = None

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Drain all partitions; no member of the group gets any before every member has returned from here."""
        taken_over = False
        try:
            await self._positions.revoke_all()
            if partitions := list(revoked):
                log.info("partitions_revoked", partitions=_names(partitions))
                taken_over = await self._membership.is_taken_over()
        except Exception as error:  # noqa: BLE001 - aiokafka would log it and carry on
            self._failure = error
        if taken_over:
            self._failure = InstanceIdTakenError(self._membership.instance_id)
            await asyncio.Event().wait()  # returning would join the group again and take the partitions back

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Start to restore the partitions. Returns at once: heartbeats only begin afterwards, and the database may be away."""
        partitions = set(assigned)
        try:
            self._client.pause(*partitions)  # before the first await: getmany must not return their records yet
            for partition in partitions:
                self._client.seek(partition, PLACEHOLDER_OFFSET)
        except Exception as error:  # noqa: BLE001 - aiokafka would log it and carry on
            self._failure = error
            return
        self._positions.clear()
        self._membership.record_join()
        self._metrics.rebalances.inc()
        if not partitions:
            self._health.unblock("starting")
        log.info("partitions_assigned", partitions=_names(partitions), member=self._membership.member_id)
        self._positions.restore(partitions)

    def raise_failure(self) -> None:
        """Raise the error of a callback or of a background restore, if there was one."""
        failure = self._failure or self._positions.failure
        if failure:
            raise failure


def _names(partitions: Iterable[TopicPartition]) -> list[str]:
    return sorted(f"{each.topic}-{each.partition}" for each in partitions)
