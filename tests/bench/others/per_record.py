"""`python -m tests.bench.others.per_record`: what most teams write first. One transaction a record, twenty in flight."""

import asyncio
import os
from typing import Any, Final

import asyncpg
import uvloop
from aiokafka import AIOKafkaConsumer

from schemas.config.settings import DatabaseSettings, KafkaSettings
from tests.bench.programs.reading_tables import METER, VEHICLE, Side

IN_FLIGHT: Final = 20


async def serve() -> None:
    """Read both topics for ever; offsets are committed by the client in the background, as is its default."""
    kafka = KafkaSettings()
    sides = {kafka.kafka_meter_topic: METER, kafka.kafka_vehicle_topic: VEHICLE}
    consumer = AIOKafkaConsumer(
        *sides, **kafka.client_options(), group_id=os.environ["KAFKA_GROUP_ID"], auto_offset_reset="earliest"
    )
    free, tasks = asyncio.Semaphore(IN_FLIGHT), set[asyncio.Task[None]]()
    await consumer.start()
    async with asyncpg.create_pool(
        DatabaseSettings().database_url.get_secret_value(), min_size=IN_FLIGHT, max_size=IN_FLIGHT
    ) as pool:
        async for record in consumer:
            await free.acquire()
            task = asyncio.create_task(_handle(pool, sides[record.topic], record.value))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            task.add_done_callback(lambda _: free.release())


async def _handle(pool: Any, side: Side, value: bytes) -> None:
    row = side.row(side.decode(value))
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(side.insert, *row)
        await connection.execute(side.upsert_one, *row)


if __name__ == "__main__":
    uvloop.run(serve())
