"""Databases that hold a fleet's readings already: laid out minute by minute, rolled up as maintenance would have."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import asyncpg

from sql.maintenance.rollups import refresh_rollups
from sql.maintenance.scheduler import FREQUENT_SESSION
from tests.bench.fleet import KNOWN
from tests.bench.ground import Ground
from tests.bench.query import ASSIGN, FILL
from tests.support.database import Database

MINUTES = 1440


@contextmanager
def stored_day(ground: Ground, vehicles: int, end: datetime) -> Iterator[Database]:
    """A database with a day, up to `end`, of so many vehicles and as many meters."""
    with ground.database() as database:
        asyncio.run(_fill(ground, database, vehicles, end))
        yield database


def this_minute() -> datetime:
    """The minute that has begun last."""
    return datetime.now(UTC).replace(second=0, microsecond=0)


async def _fill(ground: Ground, database: Database, vehicles: int, end: datetime) -> None:
    connection = await asyncpg.connect(database.migrator_url, server_settings=FREQUENT_SESSION)
    try:
        for hour in range(24):
            opens = end - timedelta(hours=24 - hour)
            for statement in FILL.values():
                await connection.execute(statement, opens, opens + timedelta(minutes=59), vehicles)
            if hour % 6 == 5:
                ground.say(f"{(hour + 1) * 60 * 2 * vehicles:,} of {MINUTES * 2 * vehicles:,} readings in place")
        for statement in KNOWN:
            await connection.execute(statement, end, vehicles)
        await connection.execute(ASSIGN, vehicles)
        await connection.execute("VACUUM ANALYZE")
        await refresh_rollups(connection, end, grace=timedelta(minutes=10))
    finally:
        await connection.close()
