"""What a test asks of a standby, and how it is held up."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from deploy.stack.postgres import Postgres
from tests.support.servers import Database


async def on_standby(standby: Postgres, database: Database, statement: str) -> Any:
    connection = await asyncpg.connect(standby.url("postgres", database.name))
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


@asynccontextmanager
async def no_replay(standby: Postgres, database: Database) -> AsyncIterator[None]:
    await on_standby(standby, database, "SELECT pg_wal_replay_pause()")
    try:
        yield
    finally:
        await on_standby(standby, database, "SELECT pg_wal_replay_resume()")
