"""`python -m tests.bench.programs.isolated_stages`: reading, decoding and storing, each in isolation in one process.

A consumer on these libraries cannot be faster than the slowest stage. With fewer cores than processes it cannot even be as fast.
"""

import gc
import time
from typing import Final

import asyncpg
import uvloop
from aiokafka import AIOKafkaConsumer

from schemas.config.settings import DatabaseSettings, KafkaSettings
from sql.connection import WRITER_SETTINGS
from tests.bench.programs.bare_loop import BATCH, count_records, print_line, start_consumer, store
from tests.bench.programs.reading_tables import METER, VEHICLE, ReadingTables, Row

IN_MEMORY: Final = 500_000  # records that are decoded and stored from memory


async def run() -> None:
    """Print one line of JSON a stage."""
    kafka = KafkaSettings()
    await _read(kafka)
    values = await _values(kafka)
    await _store(_decode(values))


async def _read(kafka: KafkaSettings) -> None:
    consumer = await start_consumer(kafka)
    total = left = await count_records(consumer)
    started, cpu = time.perf_counter(), time.process_time()
    while left > 0:
        fetched = await consumer.getmany(timeout_ms=200, max_records=BATCH)
        left -= sum(map(len, fetched.values()))
    print_line("limit_reading", total, time.perf_counter() - started, time.process_time() - cpu)
    await consumer.stop()


async def _values(kafka: KafkaSettings) -> dict[ReadingTables, list[bytes]]:
    """The first values of both topics, in the order in which they are fetched."""
    topics = {kafka.kafka_meter_topic: METER, kafka.kafka_vehicle_topic: VEHICLE}
    values: dict[ReadingTables, list[bytes]] = {METER: [], VEHICLE: []}
    consumer: AIOKafkaConsumer = await start_consumer(kafka)
    limit = min(IN_MEMORY, await count_records(consumer))
    while sum(map(len, values.values())) < limit:
        for partition, records in (await consumer.getmany(timeout_ms=200, max_records=BATCH)).items():
            values[topics[partition.topic]] += [record.value for record in records]
    await consumer.stop()
    return values


def _decode(values: dict[ReadingTables, list[bytes]]) -> dict[ReadingTables, list[Row]]:
    rows: dict[ReadingTables, list[Row]] = {}
    started, cpu = time.perf_counter(), time.process_time()
    for tables, values_of_type in values.items():
        decode, row = tables.decode, tables.row
        rows[tables] = [row(decode(value)) for value in values_of_type]
    total = sum(map(len, rows.values()))
    print_line("limit_decoding", total, time.perf_counter() - started, time.process_time() - cpu)
    return rows


async def _store(rows: dict[ReadingTables, list[Row]]) -> None:
    """Store batches of both types, one transaction each; they are sorted before the clock starts."""
    half = BATCH // 2
    batches = [
        {tables: sorted(rows_of_type[start : start + half]) for tables, rows_of_type in rows.items()}
        for start in range(0, max(map(len, rows.values())), half)
    ]
    connection = await asyncpg.connect(
        DatabaseSettings().database_url.get_secret_value(), server_settings=WRITER_SETTINGS
    )
    started, cpu = time.perf_counter(), time.process_time()
    for batch in batches:
        async with connection.transaction():
            for tables, rows_of_type in batch.items():
                if rows_of_type:
                    await store(connection, tables, rows_of_type)
    total = sum(map(len, rows.values()))
    print_line("limit_storing", total, time.perf_counter() - started, time.process_time() - cpu)
    await connection.close()


if __name__ == "__main__":
    gc.disable()  # as in the bare loop
    uvloop.run(run())
