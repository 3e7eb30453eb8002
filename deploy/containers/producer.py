"""Readings of vehicles for the checks. Runs inside the container of the API, which has a Kafka client: START FIRST COUNT."""

import asyncio
import json
import sys
from datetime import datetime, timedelta

from aiokafka import AIOKafkaProducer


async def main(start: datetime, first: int, count: int) -> None:
    """Sends `count` readings, and returns when Kafka has acknowledged all of them."""
    async with AIOKafkaProducer(bootstrap_servers="kafka:9092", acks="all") as producer:
        sent = []
        for number in range(first, first + count):
            vehicle = f"VEH-CHECK-{number % 50}"
            reading = {
                "vehicleId": vehicle,
                "soc": 85,
                "kwhDeliveredDc": 0.5,
                "batteryTemp": 28.3,
                "timestamp": (start - timedelta(seconds=number)).isoformat(),
            }
            sent.append(await producer.send("vehicle-readings", json.dumps(reading).encode(), key=vehicle.encode()))
        await asyncio.gather(*sent)


asyncio.run(main(datetime.fromisoformat(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
