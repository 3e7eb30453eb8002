"""A limit on the rate of metadata requests.

While a partition has no leader, or its topic is deleted, aiokafka requests metadata again as soon as it has the last response:
hundreds of requests a second, for as long as the partition stays away.
"""

import asyncio
import time
from typing import Any, Final

from aiokafka import AIOKafkaConsumer

INTERVAL_SECONDS: Final = 0.25


def limit_metadata_requests(client: AIOKafkaConsumer) -> None:
    """Send at most one metadata request in INTERVAL_SECONDS; those in between wait."""
    request = client._client._metadata_update  # noqa: SLF001
    lock, not_before = asyncio.Lock(), 0.0

    async def request_later(*arguments: Any) -> bool:
        nonlocal not_before
        async with lock:
            await asyncio.sleep(max(0.0, not_before - time.monotonic()))
            not_before = time.monotonic() + INTERVAL_SECONDS
        updated: bool = await request(*arguments)
        return updated

    client._client._metadata_update = request_later  # noqa: SLF001
