"""A PostgreSQL standby: queries on it, and pauses of its replay."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from deploy.stack.postgres import Postgres
from tests.support.database import Database


async def fetch_from_standby(standby: Postgres, database: Database, statement: str) -> Any:
    """The first value that a statement returns on the standby."""
    connection = await asyncpg.connect(standby.url("postgres", database.name))
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


@asynccontextmanager
async def paused_replay(standby: Postgres, database: Database) -> AsyncIterator[None]:
    """Pauses the replay of WAL on the standby while the block runs."""
    await fetch_from_standby(standby, database, "SELECT pg_wal_replay_pause()")
    try:
        yield
    finally:
        await fetch_from_standby(standby, database, "SELECT pg_wal_replay_resume()")
