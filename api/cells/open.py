"""Opens the databases of all cells, and checks once a second which of them respond."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from pydantic import SecretStr

from api.archive.months import Archive
from api.cells.cells import ONLY, Cell, Cells
from api.database.pools import monitored_server, open_read_router, read_pool
from api.database.replica import CHECK_EVERY_SECONDS, MonitoredServer
from api.database.routing import ReadRouter, ReadSource
from api.metrics import Metrics
from api.settings import ApiSettings


@asynccontextmanager
async def open_cells(settings: ApiSettings, metrics: Metrics) -> AsyncIterator[Cells]:
    """The cells of DATABASE_CELLS, or the one of DATABASE_URL, for the duration of the block."""
    async with AsyncExitStack() as exits:
        cells = []
        for name, url in settings.cells.items():
            cells.append(await exits.enter_async_context(_open(name, url, settings, metrics)))
        if not cells:
            database = await exits.enter_async_context(open_read_router(settings, metrics))
            cells.append(Cell(ONLY, database, Archive(settings.archive_directory)))
        for cell in cells:
            exits.callback(cell.archive.close)
        yield Cells(cells)


@asynccontextmanager
async def _open(name: str, url: SecretStr, settings: ApiSettings, metrics: Metrics) -> AsyncIterator[Cell]:
    label = f"cell {name}"
    async with read_pool(settings, url) as connections, monitored_server(label, settings, url) as server:
        source = ReadSource("primary", label, connections)
        metrics.track_cell(name, lambda: server.is_up)
        monitoring = asyncio.create_task(_monitor(server, source), name=f"monitor-{name}")
        try:
            database = ReadRouter(source, None, None, metrics.reads)
            archive = settings.archive_directory and settings.archive_directory / name
            yield Cell(name, database, Archive(archive), lambda: server.is_up)
        finally:
            monitoring.cancel()
            await asyncio.wait({monitoring})


async def _monitor(server: MonitoredServer, source: ReadSource) -> None:
    while True:
        await server.query(lambda connection: connection.fetchval("SELECT true"))
        if not server.is_up:
            source.terminate_in_use()
        await asyncio.sleep(CHECK_EVERY_SECONDS)
