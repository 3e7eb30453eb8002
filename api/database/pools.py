"""Connection pools and the replica monitor, opened as the settings say."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

from pydantic import SecretStr
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.database.replica import QUERY_TIMEOUT_SECONDS, MonitoredServer, ReplicaMonitor, ServerProbe
from api.database.routing import READ_ORIGIN, ReadOrigin, ReadRouter, ReadSource
from api.metrics import Metrics
from api.settings import ApiSettings
from sql.connection import PROBE_SETTINGS, READER_SETTINGS, pool

SOURCE: Final = "Data-Source"
STALENESS: Final = "Data-Staleness-Seconds"
COMMAND_TIMEOUT_SECONDS: Final = (
    6.0  # above the server's statement_timeout, so that the server reports the timeout itself
)


@asynccontextmanager
async def open_read_router(settings: ApiSettings, metrics: Metrics) -> AsyncIterator[ReadRouter]:
    """Opens the pools. A replica has been checked once before the block runs, and is checked until the block ends."""
    async with AsyncExitStack() as exits:
        enter = exits.enter_async_context
        if settings.database_read_url is None:
            primary = ReadSource("primary", "DATABASE_URL", await enter(_pool(settings, settings.database_url)))
            yield ReadRouter(primary, None, None, metrics.reads)
            return
        replica = ReadSource("replica", "DATABASE_READ_URL", await enter(_pool(settings, settings.database_read_url)))
        fallback = None
        if settings.database_read_fallback == "primary":
            fallback = ReadSource("primary", "DATABASE_URL", await enter(_pool(settings, settings.database_url)))
        monitor = ReplicaMonitor(
            await enter(_monitored("DATABASE_READ_URL", settings.database_read_url)),
            await enter(_monitored("DATABASE_URL", settings.database_url)),
            settings.read_staleness_limit_seconds,
        )
        metrics.follow(monitor)
        router = ReadRouter(fallback, replica, monitor, metrics.reads)
        await monitor.check()
        monitoring = asyncio.create_task(monitor.run(), name="replica-monitor")
        try:
            yield router
        finally:
            monitoring.cancel()
            await asyncio.wait({monitoring})


def _pool(settings: ApiSettings, url: SecretStr) -> Any:
    return pool(
        url,
        size=settings.database_pool_size,
        server_settings=READER_SETTINGS,
        command_timeout=COMMAND_TIMEOUT_SECONDS,
        slower_than_ms=settings.sql_log_slower_than_ms,
    )


@asynccontextmanager
async def _monitored(setting: str, url: SecretStr) -> AsyncIterator[MonitoredServer]:
    connections = pool(url, size=1, server_settings=PROBE_SETTINGS, command_timeout=QUERY_TIMEOUT_SECONDS)
    async with connections:
        try:
            yield MonitoredServer(setting, ServerProbe(connections))
        finally:
            connections.terminate()  # a graceful close would wait for a server that may not respond


class DataSourceMiddleware:
    """ASGI middleware: `Data-Source` and `Data-Staleness-Seconds` on every answer that was read from a database."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and say on its answer where it has read."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        used = ReadOrigin()
        token = READ_ORIGIN.set(used)

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start" and used.source:
                headers = MutableHeaders(scope=message)
                headers[SOURCE] = used.source
                if used.staleness is not None:
                    headers[STALENESS] = f"{used.staleness:.1f}"
            await send(message)

        try:
            await self._app(scope, receive, tell)
        finally:
            READ_ORIGIN.reset(token)
