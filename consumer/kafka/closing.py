"""Closing a Kafka client in bounded time, whatever state it is in.

`stop()` of aiokafka waits for its own tasks after it has cancelled them, and where one of these was asleep in a retry their
cancellation comes out of `stop()` itself: to the caller it would look as if it was cancelled. So it runs in a task of its own.
"""

import asyncio

from aiokafka import AIOKafkaConsumer


async def close(consumer: AIOKafkaConsumer, within_seconds: float) -> bool:
    """Whether the client has stopped in order and in time; its connections are closed in any case."""
    stopping = asyncio.create_task(consumer.stop(), name="stop")
    await asyncio.wait({stopping}, timeout=within_seconds)
    if stopping.done() and not stopping.cancelled() and stopping.exception() is None:
        return True
    in_time = stopping.done()
    stopping.cancel()
    closing = asyncio.create_task(consumer._client.close(), name="close")  # noqa: SLF001 - what stop() would have come to
    await asyncio.wait({closing}, timeout=within_seconds)
    return in_time
