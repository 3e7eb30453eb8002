"""The watch over the stored offsets: they may move without us, and a log may end before them without an error of Kafka."""

import asyncio
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from consumer.kafka.log_offsets import log_ranges
from consumer.monitoring.metrics import Metrics
from consumer.pipeline.positions import NextOffsets, PartitionPositions
from consumer.pipeline.topic_buffer import TopicBuffers
from consumer.storage.offsets import StoredOffset, StoredOffsets
from sql.connection import DATABASE_ERRORS

log = structlog.get_logger(__name__)

WATCH_SECONDS: Final = 1.0


class OffsetWatch:
    """Compares the positions of this process with the database and with the logs, once a second."""

    def __init__(
        self,
        client: AIOKafkaConsumer,
        offsets: StoredOffsets,
        positions: PartitionPositions,
        buffers: TopicBuffers,
        metrics: Metrics,
    ) -> None:
        self._client = client
        self._offsets = offsets
        self._positions = positions
        self._buffers = buffers
        self._metrics = metrics

    async def run(self) -> None:
        """Watch until cancelled. A database that does not respond is reported by the code that needs it."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            await self._find_short_logs()
            try:
                await self._find_moved_offsets()
            except DATABASE_ERRORS as error:
                log.debug("stored_offsets_not_watched", error=repr(error))

    async def _find_moved_offsets(self) -> None:
        """Restore the partitions that do not continue where the database says: halted, or it went back in time.

        Only partitions that have their stored offset already are looked at. While the group rebalances there are none, although
        the client still names the former ones: their offsets would be committed to Kafka (lag/reporter.py) behind the request to
        join the group, which Kafka would answer with an illegal generation, whereupon aiokafka would join once more.
        """
        before, next_offsets = self._idle(), self._positions.next_offsets
        stored = await self._offsets.watch(set(self._positions.stored))
        if next_offsets is not self._positions.next_offsets:
            return
        after = self._idle()
        moved = {
            partition
            for partition, offset in before.items()
            if after.get(partition) == offset and not _continues_at(offset, stored.get(partition))
        }
        for partition in moved:
            self._report(partition, before[partition], stored.get(partition))
        decided = {
            partition
            for partition, reason in self._positions.halted.items()
            if partition not in stored or stored[partition].halt_reason != reason
        }
        self._positions.stored.update({each: offset.next_offset for each, offset in stored.items()})
        self._positions.restore(moved | decided)

    def _idle(self) -> NextOffsets:
        """The next offset of each readable partition of which everything fetched is written."""
        unwritten = self._buffers.unwritten_partitions()
        return {each: offset for each, offset in self._positions.next_offsets.items() if each not in unwritten}

    def _report(self, partition: TopicPartition, expected: int, found: StoredOffset | None) -> None:
        names = {"topic": partition.topic, "partition": partition.partition}
        log.warning("stored_offset_moved", **names, expected=expected, stored=found and found.next_offset)
        self._metrics.stored_offsets_moved.inc()

    async def _find_short_logs(self) -> None:
        """Compare partitions with their log that wait at their last record: a log may end there, without that record.

        Kafka takes the end of a log for an offset to wait at, and such a log holds records that would never be read.
        """
        waiting, next_offsets = self._positions.waiting_for_last_record(), self._positions.next_offsets
        if not waiting:
            return
        ranges, _ = await log_ranges(self._client, waiting)
        if next_offsets is self._positions.next_offsets:
            waiting = self._positions.waiting_for_last_record() & ranges.keys()
            self._positions.compare_with_log({each for each in waiting if ranges[each].end < next_offsets[each]})


def _continues_at(offset: int, stored: StoredOffset | None) -> bool:
    return stored is not None and stored.next_offset == offset and stored.halt_reason is None
