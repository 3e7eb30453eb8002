"""`python -m tests.bench.programs.bare_loop`: the least that any consumer has to do, as the baseline for what ours costs.

getmany -> decode -> sort -> one transaction: COPY, live status, offsets; the next fetch runs while a batch is written. The loop
checks no identifier, no clock and no duplicate, claims no offsets, keeps no ledger, and cannot detect lost records.
"""

import asyncio
import gc
import sys
import time
from typing import Any, Final

import asyncpg
import msgspec
import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.config.settings import DatabaseSettings, KafkaSettings
from sql.connection import WRITER_SETTINGS
from tests.bench.programs.reading_tables import METER, VEHICLE, ReadingTables, Row

BATCH: Final = 50_000  # the default of the consumer
UPSERT_OFFSETS: Final = """
INSERT INTO bench_offsets SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[])
ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset"""
Batch = tuple[dict[ReadingTables, list[Row]], dict[TopicPartition, int]]


async def run() -> None:
    """Drain both topics from their beginning to their current end and print how long it took."""
    kafka = KafkaSettings()
    topics = {kafka.kafka_meter_topic: METER, kafka.kafka_vehicle_topic: VEHICLE}
    connection = await asyncpg.connect(
        DatabaseSettings().database_url.get_secret_value(), server_settings=WRITER_SETTINGS
    )
    consumer = await start_consumer(kafka)
    left = await count_records(consumer)
    total, writing = left, asyncio.create_task(asyncio.sleep(0))
    started, cpu = time.perf_counter(), time.process_time()
    while left:
        rows: dict[ReadingTables, list[Row]] = {METER: [], VEHICLE: []}
        offsets: dict[TopicPartition, int] = {}
        size = min(BATCH, left)
        while (have := len(rows[METER]) + len(rows[VEHICLE])) < size:
            for partition, records in (await consumer.getmany(timeout_ms=200, max_records=size - have)).items():
                tables = topics[partition.topic]
                decode, row = tables.decode, tables.row
                rows[tables] += [row(decode(record.value)) for record in records]
                offsets[partition] = records[-1].offset + 1
        for rows_of_type in rows.values():
            rows_of_type.sort()
        await writing
        writing = asyncio.create_task(_write(connection, (rows, offsets)))
        left -= size
    await writing
    print_line("bare_loop", total, time.perf_counter() - started, time.process_time() - cpu)
    await consumer.stop()
    await connection.close()


async def store(connection: Any, tables: ReadingTables, rows: list[Row]) -> None:
    """COPY sorted rows into history and upsert the newest row of each device into live status."""
    await connection.copy_records_to_table(tables.history, records=rows, columns=tables.columns)
    newest = {row[0]: row for row in rows}
    await connection.execute(tables.upsert_many, *zip(*newest.values(), strict=True))


async def start_consumer(kafka: KafkaSettings) -> AIOKafkaConsumer:
    """A consumer of all partitions of both topics, without a group, positioned at their beginning."""
    consumer = AIOKafkaConsumer(
        **kafka.client_options(), group_id=None, enable_auto_commit=False, isolation_level="read_committed"
    )
    await consumer.start()
    cluster = await consumer._client.fetch_all_metadata()
    partitions = [
        TopicPartition(topic, number)
        for topic in (kafka.kafka_meter_topic, kafka.kafka_vehicle_topic)
        for number in sorted(cluster.partitions_for_topic(topic) or ())
    ]
    consumer.assign(partitions)
    await consumer.seek_to_beginning()
    return consumer


async def count_records(consumer: AIOKafkaConsumer) -> int:
    """Records in all partitions, given that they start at offset 0."""
    ends = await consumer.end_offsets(list(consumer.assignment()))
    return sum(ends.values())


def print_line(what: str, records: int, seconds: float, cpu_seconds: float) -> None:
    """Print a figure as the JSON line that the measure `limit` decodes."""
    line = {"what": what, "records": records, "seconds": seconds, "client_cpu_seconds": cpu_seconds}
    sys.stdout.write(msgspec.json.encode(line).decode() + "\n")


async def _write(connection: Any, batch: Batch) -> None:
    rows, offsets = batch
    async with connection.transaction():
        for tables, rows_of_type in rows.items():
            if rows_of_type:
                await store(connection, tables, rows_of_type)
        topics, partitions = zip(*offsets, strict=True)
        await connection.execute(UPSERT_OFFSETS, topics, partitions, list(offsets.values()))


if __name__ == "__main__":
    gc.disable()  # this program makes no reference cycles, and a search for them costs a fifth of the time
    uvloop.run(run())
