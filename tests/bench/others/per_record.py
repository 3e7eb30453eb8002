"""`python -m tests.bench.others.per_record`: one transaction a record, twenty in flight, as most teams would write it first."""

import asyncio
import os
from typing import Any, Final

import asyncpg
import uvloop
from aiokafka import AIOKafkaConsumer

from schemas.config.settings import DatabaseSettings, KafkaSettings
from tests.bench.programs.reading_tables import METER, VEHICLE, ReadingTables

IN_FLIGHT: Final = 20


async def run() -> None:
    """Consume both topics until killed; the client commits offsets in the background, which is its default."""
    kafka = KafkaSettings()
    topics = {kafka.kafka_meter_topic: METER, kafka.kafka_vehicle_topic: VEHICLE}
    consumer = AIOKafkaConsumer(
        *topics, **kafka.client_options(), group_id=os.environ["KAFKA_GROUP_ID"], auto_offset_reset="earliest"
    )
    slots, tasks = asyncio.Semaphore(IN_FLIGHT), set[asyncio.Task[None]]()
    await consumer.start()
    async with asyncpg.create_pool(
        DatabaseSettings().database_url.get_secret_value(), min_size=IN_FLIGHT, max_size=IN_FLIGHT
    ) as pool:
        async for record in consumer:
            await slots.acquire()
            task = asyncio.create_task(_write(pool, topics[record.topic], record.value))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            task.add_done_callback(lambda _: slots.release())


async def _write(pool: Any, tables: ReadingTables, value: bytes) -> None:
    row = tables.row(tables.decode(value))
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(tables.insert, *row)
        await connection.execute(tables.upsert_one, *row)


if __name__ == "__main__":
    uvloop.run(run())
