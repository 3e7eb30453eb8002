"""A member of a consumer group that only reads: logs the time, the partition and the last offset of each part it receives.

`group_member.py classic` is aiokafka with the assignor of our consumers. `group_member.py consumer` is librdkafka with the
protocol of KIP-848, and runs in `.venv-bench`. Ends on SIGTERM and leaves the group.
"""

import asyncio
import os
import signal
import sys
import time
from typing import Any

SERVERS, TOPIC, GROUP = (os.environ[name] for name in ("KAFKA_BOOTSTRAP_SERVERS", "TOPIC", "KAFKA_GROUP_ID"))


def log(partition: int, offset: int) -> None:
    sys.stdout.write(f"received {time.time():.6f} {partition} {offset}\n")
    sys.stdout.flush()


async def read_with_aiokafka() -> None:
    from aiokafka import AIOKafkaConsumer  # noqa: PLC0415 - each client is in an environment of its own
    from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor  # noqa: PLC0415

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    consumer = AIOKafkaConsumer(
        TOPIC,
        bootstrap_servers=SERVERS,
        group_id=GROUP,
        auto_offset_reset="earliest",
        session_timeout_ms=10_000,
        heartbeat_interval_ms=2_500,
        partition_assignment_strategy=[RoundRobinPartitionAssignor],
    )
    await consumer.start()
    while not stop.is_set():
        for partition, records in (await consumer.getmany(timeout_ms=50)).items():
            log(partition.partition, records[-1].offset)
    await consumer.stop()


def read_with_librdkafka() -> None:
    from confluent_kafka import Consumer  # noqa: PLC0415

    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    settings: dict[str, Any] = {
        "bootstrap.servers": SERVERS,
        "group.id": GROUP,
        "group.protocol": "consumer",
        "auto.offset.reset": "earliest",
    }
    consumer = Consumer(settings)
    consumer.subscribe([TOPIC])
    while not stopped:
        records = [each for each in consumer.consume(1000, 0.05) if not each.error()]
        last: dict[Any, Any] = {each.partition(): each.offset() for each in records}
        for partition, offset in last.items():
            log(partition, offset)
    consumer.close()


if __name__ == "__main__":
    if sys.argv[1] == "classic":
        asyncio.run(read_with_aiokafka())
    else:
        read_with_librdkafka()
