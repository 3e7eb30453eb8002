"""Connection pools and the replica monitor, opened as configured."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

from pydantic import SecretStr

from api.database.replica import QUERY_TIMEOUT_SECONDS, MonitoredServer, ReplicaMonitor, ServerProbe
from api.database.routing import ReadRouter, ReadSource
from api.database.transaction_pool import TransactionPool
from api.metrics import Metrics
from api.settings import ApiSettings
from sql.connection import PROBE_SETTINGS, READER_SETTINGS, keep_session, pool, pooler_pool

COMMAND_TIMEOUT_SECONDS: Final = (
    6.0  # above the server's statement_timeout, so that the server reports the timeout itself
)


@asynccontextmanager
async def open_read_router(settings: ApiSettings, metrics: Metrics) -> AsyncIterator[ReadRouter]:
    """Opens the pools. A replica has been checked once before the block runs, and is checked until the block ends."""
    async with AsyncExitStack() as exits:
        enter = exits.enter_async_context
        if settings.database_read_url is None:
            primary = ReadSource("primary", "DATABASE_URL", await enter(read_pool(settings, settings.database_url)))
            yield ReadRouter(primary, None, None, metrics.reads)
            return
        replica = ReadSource(
            "replica", "DATABASE_READ_URL", await enter(read_pool(settings, settings.database_read_url))
        )
        fallback = None
        if settings.database_read_fallback == "primary":
            fallback = ReadSource("primary", "DATABASE_URL", await enter(read_pool(settings, settings.database_url)))
        monitor = ReplicaMonitor(
            await enter(monitored_server("DATABASE_READ_URL", settings, settings.database_read_url)),
            await enter(monitored_server("DATABASE_URL", settings, settings.database_url)),
            settings.read_staleness_limit_seconds,
        )
        metrics.track_replica(monitor.staleness, lambda: monitor.is_up)
        router = ReadRouter(fallback, replica, monitor, metrics.reads)
        await monitor.check()
        monitoring = asyncio.create_task(monitor.run(), name="replica-monitor")
        try:
            yield router
        finally:
            monitoring.cancel()
            await asyncio.wait({monitoring})


def read_pool(settings: ApiSettings, url: SecretStr) -> Any:
    """A pool of connections for requests."""
    return _connections(
        settings,
        url,
        size=settings.database_pool_size,
        server_settings=READER_SETTINGS,
        command_timeout=COMMAND_TIMEOUT_SECONDS,
        slower_than_ms=settings.sql_log_slower_than_ms,
    )


def _connections(settings: ApiSettings, url: SecretStr, *, server_settings: dict[str, str], **options: Any) -> Any:
    if settings.database_pooler == "none":
        # Statements are kept for as long as the session: planning the energy of all levels takes longer than a request may.
        kept: dict[str, Any] = {"reset": keep_session, "max_cached_statement_lifetime": 0}
        return pool(url, server_settings=server_settings, **kept, **options)
    prepared = settings.database_pooler == "transaction_prepared"
    name = server_settings["application_name"]
    return TransactionPool(pooler_pool(url, application_name=name, prepared=prepared, **options), server_settings)


@asynccontextmanager
async def monitored_server(setting: str, settings: ApiSettings, url: SecretStr) -> AsyncIterator[MonitoredServer]:
    """A server that is probed over a connection of its own; `setting` names it in the log."""
    connections = _connections(
        settings, url, size=1, server_settings=PROBE_SETTINGS, command_timeout=QUERY_TIMEOUT_SECONDS
    )
    async with connections:
        try:
            yield MonitoredServer(setting, ServerProbe(connections))
        finally:
            connections.terminate()  # a graceful close would wait for a server that may not respond
