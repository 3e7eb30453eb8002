"""`python -m tests.bench.programs.isolated_stages`: each part of the work by itself, in one process: reading, decoding, storing.

No consumer of this kind can be faster than the slowest of them, and on a machine with few cores not even as fast.
"""

import gc
import time
from typing import Final

import asyncpg
import uvloop
from aiokafka import AIOKafkaConsumer

from schemas.config.settings import DatabaseSettings, KafkaSettings
from sql.connection import WRITER_SETTINGS
from tests.bench.programs.bare_loop import BATCH, done, reader, store, waiting
from tests.bench.programs.reading_tables import METER, VEHICLE, Row, Side

IN_MEMORY: Final = 500_000  # records that are decoded and stored from memory


async def alone() -> None:
    """A line on stdout for each part."""
    kafka = KafkaSettings()
    await _read(kafka)
    values = await _values(kafka)
    await _store(_decode(values))


async def _read(kafka: KafkaSettings) -> None:
    consumer = await reader(kafka)
    total = left = await waiting(consumer)
    began, cpu = time.perf_counter(), time.process_time()
    while left > 0:
        fetched = await consumer.getmany(timeout_ms=200, max_records=BATCH)
        left -= sum(map(len, fetched.values()))
    done(total, time.perf_counter() - began, time.process_time() - cpu, "limit_reading")
    await consumer.stop()


async def _values(kafka: KafkaSettings) -> dict[Side, list[bytes]]:
    """The first values of both topics, in the order in which they come."""
    sides = {kafka.kafka_meter_topic: METER, kafka.kafka_vehicle_topic: VEHICLE}
    values: dict[Side, list[bytes]] = {METER: [], VEHICLE: []}
    consumer: AIOKafkaConsumer = await reader(kafka)
    wanted = min(IN_MEMORY, await waiting(consumer))
    while sum(map(len, values.values())) < wanted:
        for partition, records in (await consumer.getmany(timeout_ms=200, max_records=BATCH)).items():
            values[sides[partition.topic]] += [record.value for record in records]
    await consumer.stop()
    return values


def _decode(values: dict[Side, list[bytes]]) -> dict[Side, list[Row]]:
    rows: dict[Side, list[Row]] = {}
    began, cpu = time.perf_counter(), time.process_time()
    for side, of_side in values.items():
        decode, row = side.decode, side.row
        rows[side] = [row(decode(value)) for value in of_side]
    total = sum(map(len, rows.values()))
    done(total, time.perf_counter() - began, time.process_time() - cpu, "limit_decoding")
    return rows


async def _store(rows: dict[Side, list[Row]]) -> None:
    """Batches of both kinds, sorted before the clock starts, each in one transaction."""
    half = BATCH // 2
    batches = [
        {side: sorted(of_side[start : start + half]) for side, of_side in rows.items()}
        for start in range(0, max(map(len, rows.values())), half)
    ]
    connection = await asyncpg.connect(
        DatabaseSettings().database_url.get_secret_value(), server_settings=WRITER_SETTINGS
    )
    began, cpu = time.perf_counter(), time.process_time()
    for batch in batches:
        async with connection.transaction():
            for side, of_side in batch.items():
                if of_side:
                    await store(connection, side, of_side)
    total = sum(map(len, rows.values()))
    done(total, time.perf_counter() - began, time.process_time() - cpu, "limit_storing")
    await connection.close()


if __name__ == "__main__":
    gc.disable()  # as in the bare loop
    uvloop.run(alone())
