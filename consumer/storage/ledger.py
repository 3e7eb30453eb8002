"""The ledger: one row of `kafka_offsets` per partition, with the next offset and the counts of the consumed records.

The SQL of the claim and the counts is in sql/queries/offsets.sql.
"""

from collections import Counter
from collections.abc import Iterable

from aiokafka import TopicPartition

from consumer.records.batch import Batch
from consumer.records.record import Record, record_hash
from consumer.storage.errors import FencedError
from consumer.storage.offsets import partition_columns
from consumer.storage.row_writers import Connection, Watermarks
from sql.queries import queries


async def claim_offsets(connection: Connection, consumer_group: str, batch: Batch) -> Watermarks:
    """Move the stored offset of each partition of a batch past the batch, and count the batch's records.

    This is the fence: a stored offset moves only from the one that the batch expects, and its row stays locked until the end
    of the transaction. Records that are not dead letters are counted as written, until `adjust_ledger` corrects that.

    Returns:
        The watermarks of the transaction.

    Raises:
        FencedError: the stored offset of a partition is not the expected one, or the partition is halted.
    """
    spans = batch.spans
    dead_lettered = count_by_partition(each.record for each in batch.dead_letters)
    claimed = {
        TopicPartition(row["topic"], row["partition"]): Watermarks(*row["watermarks"])
        async for row in queries.claim(
            connection,
            consumer_group=consumer_group,
            **partition_columns(spans),
            expected_offsets=[span.expected_offset for span in spans.values()],
            next_offsets=[span.next_offset for span in spans.values()],
            end_offsets=[span.end_offset for span in spans.values()],
            consumed=[span.consumed for span in spans.values()],
            dead_lettered=[dead_lettered[partition] for partition in spans],
            last_offsets=[span.last_record and span.last_record.offset for span in spans.values()],
            last_hashes=[span.last_record and record_hash(span.last_record) for span in spans.values()],
        )
    }
    if len(claimed) != len(spans):
        raise FencedError(spans.keys() - claimed.keys())
    return max(claimed.values())


async def adjust_ledger(
    connection: Connection,
    consumer_group: str,
    *,
    duplicates: Counter[TopicPartition],
    dead_lettered: Counter[TopicPartition],
) -> None:
    """Count records as duplicates or dead letters instead of as written; negative numbers count them back."""
    partitions = [each for each in duplicates.keys() | dead_lettered.keys() if duplicates[each] or dead_lettered[each]]
    if not partitions:
        return
    await queries.recount(
        connection,
        consumer_group=consumer_group,
        **partition_columns(partitions),
        duplicates=[duplicates[partition] for partition in partitions],
        dead_lettered=[dead_lettered[partition] for partition in partitions],
    )


def count_by_partition(records: Iterable[Record]) -> Counter[TopicPartition]:
    return Counter(record.topic_partition for record in records)
