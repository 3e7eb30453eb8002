"""Reading, put together: pools and the replica's watch while the service runs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

from pydantic import SecretStr

from api.database.replica import ANSWERS_WITHIN_SECONDS, MonitoredServer, ReplicaMonitor, ServerProbe
from api.database.routing import ReadRouter, Source
from api.metrics import Metrics
from api.settings import ApiSettings
from sql.connection import PROBE_SETTINGS, READER_SETTINGS, pool

COMMAND_TIMEOUT_SECONDS: Final = 6.0  # a little above the server's own statement_timeout: it should speak first


@asynccontextmanager
async def reading(settings: ApiSettings, metrics: Metrics) -> AsyncIterator[ReadRouter]:
    """What the settings say to read from. A replica has been looked at before anything is asked of it."""
    async with AsyncExitStack() as exits:
        opened = exits.enter_async_context
        if settings.database_read_url is None:
            primary = Source("primary", "DATABASE_URL", await opened(_pool(settings, settings.database_url)))
            yield ReadRouter(primary, None, None, metrics.reads)
            return
        standby = Source("replica", "DATABASE_READ_URL", await opened(_pool(settings, settings.database_read_url)))
        fallback = None
        if settings.database_read_fallback == "primary":
            fallback = Source("primary", "DATABASE_URL", await opened(_pool(settings, settings.database_url)))
        watched = await opened(_probe("DATABASE_READ_URL", settings.database_read_url))
        beside = await opened(_probe("DATABASE_URL", settings.database_url))
        replica = ReplicaMonitor(watched, beside, settings.read_staleness_limit_seconds)
        metrics.track_replica(replica.staleness, lambda: replica.answers)
        reads = ReadRouter(fallback, replica, standby, metrics.reads)
        await replica.look()
        watching = asyncio.create_task(replica.watch(), name="replica")
        try:
            yield reads
        finally:
            watching.cancel()
            await asyncio.wait({watching})


def _pool(settings: ApiSettings, url: SecretStr) -> Any:
    return pool(
        url,
        size=settings.database_pool_size,
        server_settings=READER_SETTINGS,
        command_timeout=COMMAND_TIMEOUT_SECONDS,
        slower_than_ms=settings.sql_log_slower_than_ms,
    )


@asynccontextmanager
async def _probe(setting: str, url: SecretStr) -> AsyncIterator[MonitoredServer]:
    connections = pool(url, size=1, server_settings=PROBE_SETTINGS, command_timeout=ANSWERS_WITHIN_SECONDS)
    async with connections:
        try:
            yield MonitoredServer(setting, ServerProbe(connections))
        finally:
            connections.terminate()  # closing in order would wait for a server that may be silent
