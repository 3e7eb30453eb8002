"""`python -m tests.bench.programs.bare_loop`: the loop that nobody can do without, and nothing else: what care costs.

getmany -> decode -> sort -> one transaction: COPY, live status, offsets; the next fetch runs while a batch is written. It checks
no identifier, no clock and no duplicate, claims nothing, keeps no ledger, and could not tell what it has lost.
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
from tests.bench.programs.reading_tables import METER, VEHICLE, Row, Side

BATCH: Final = 50_000  # as the consumer's default
OFFSETS: Final = """
INSERT INTO bench_offsets SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[])
ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset"""
Batch = tuple[dict[Side, list[Row]], dict[TopicPartition, int]]


async def loop() -> None:
    """Drain both topics from their beginning to where they end now; say on stdout how long it took."""
    kafka = KafkaSettings()
    sides = {kafka.kafka_meter_topic: METER, kafka.kafka_vehicle_topic: VEHICLE}
    connection = await asyncpg.connect(
        DatabaseSettings().database_url.get_secret_value(), server_settings=WRITER_SETTINGS
    )
    consumer = await reader(kafka)
    left = await waiting(consumer)
    total, writing = left, asyncio.create_task(asyncio.sleep(0))
    began, cpu = time.perf_counter(), time.process_time()
    while left:
        rows: dict[Side, list[Row]] = {METER: [], VEHICLE: []}
        offsets: dict[TopicPartition, int] = {}
        wanted = min(BATCH, left)
        while (have := len(rows[METER]) + len(rows[VEHICLE])) < wanted:
            for partition, records in (await consumer.getmany(timeout_ms=200, max_records=wanted - have)).items():
                side = sides[partition.topic]
                decode, row = side.decode, side.row
                rows[side] += [row(decode(record.value)) for record in records]
                offsets[partition] = records[-1].offset + 1
        for of_side in rows.values():
            of_side.sort()
        await writing
        writing = asyncio.create_task(write(connection, (rows, offsets)))
        left -= wanted
    await writing
    done(total, time.perf_counter() - began, time.process_time() - cpu)
    await consumer.stop()
    await connection.close()


async def write(connection: Any, batch: Batch) -> None:
    """One transaction: history, the newest of each device, offsets."""
    rows, offsets = batch
    async with connection.transaction():
        for side, of_side in rows.items():
            if of_side:
                await store(connection, side, of_side)
        topics, partitions = zip(*offsets, strict=True)
        await connection.execute(OFFSETS, topics, partitions, list(offsets.values()))


async def store(connection: Any, side: Side, rows: list[Row]) -> None:
    """Sorted rows into history, and the newest of each device into live status."""
    await connection.copy_records_to_table(side.history, records=rows, columns=side.columns)
    newest = {row[0]: row for row in rows}
    await connection.execute(side.upsert_many, *zip(*newest.values(), strict=True))


async def reader(kafka: KafkaSettings) -> AIOKafkaConsumer:
    """A consumer of all partitions of both topics, without a group, at their beginning."""
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


async def waiting(consumer: AIOKafkaConsumer) -> int:
    """How many records there are to read."""
    ends = await consumer.end_offsets(list(consumer.assignment()))
    return sum(ends.values())


def done(records: int, seconds: float, cpu_seconds: float, what: str = "bare_loop") -> None:
    """Tell whoever has started this process."""
    line = {"what": what, "records": records, "seconds": seconds, "client_cpu_seconds": cpu_seconds}
    sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    gc.disable()  # nothing here makes cycles, and looking for them costs a fifth
    uvloop.run(loop())
