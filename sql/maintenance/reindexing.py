"""Reindexing of the primary keys of history, which each device's run of readings leaves with half-empty pages.

The key of the current month is rebuilt whenever it has grown by half, the key of a finished month once more. Readers and writers
are never blocked. An interrupted rebuild is started again.
"""

from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg
import structlog

from sql.connection import DATABASE_ERRORS
from sql.queries import queries

log = structlog.get_logger(__name__)

GRACE: Final = timedelta(days=2)  # after the end of a month: most late readings have arrived by then
# A smaller factor writes more, a larger one keeps more half-empty pages: docs/decisions/0009.
GROWTH: Final = 1.5
# Bytes of the key of an unfinished month. Right after a rebuild, every device's last page is split once more.
MIN_BYTES: Final = 2**29
# The build waits for older transactions. It blocks no other session meanwhile, and giving up would mean building from the start.
LOCK_TIMEOUT: Final = "1h"


async def reindex_primary_keys(
    connection: Any, now: datetime, *, max_bytes: int, min_bytes: int = MIN_BYTES
) -> list[str]:
    """Rebuild the primary keys that are due.

    Args:
        connection: of the schema's owner, not in a transaction.
        now: the server's clock.
        max_bytes: largest key of an unfinished month to rebuild; larger ones are left until the month is over.
        min_bytes: smallest such key to rebuild; smaller ones gain little.

    Returns:
        The indexes that were rebuilt.

    Raises:
        asyncpg.PostgresError, OSError: the first failure; the remaining indexes were rebuilt nevertheless.
    """
    await _drop_leftovers(connection)
    due = [
        row
        async for row in queries.indexes_to_reindex(
            connection, now=now, grace=GRACE, min_bytes=min_bytes, max_bytes=max_bytes, growth=GROWTH
        )
    ]
    failures = []
    for row in due:
        try:
            await _reindex(connection, row, now)
        except DATABASE_ERRORS as error:
            log.warning("reindex_failed", index=row["index_name"], error=repr(error))
            failures.append(error)
    if failures:
        raise failures[0]
    return [row["index_name"] for row in due]


async def _reindex(connection: Any, row: Any, now: datetime) -> None:
    name = row["index_name"]
    # Another OID under this name means that the rebuild had succeeded when it was interrupted.
    if row["started_with"] in {None, row["built"]}:
        await queries.start_reindex(connection, index_name=name, built=row["built"], bytes=row["bytes"], now=now)
        await _rebuild(connection, name)
    done = await queries.finish_reindex(connection, index_name=name)
    if done["bytes_before"] > done["bytes_after"]:
        log.info("index_rebuilt", index=name, bytes_before=done["bytes_before"], bytes_after=done["bytes_after"])


async def _rebuild(connection: Any, name: str) -> None:
    """A failed REINDEX CONCURRENTLY leaves an invalid index that is written to and never read; it is dropped."""
    try:
        await connection.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
        try:
            await connection.execute(f'REINDEX INDEX CONCURRENTLY "{name}"')
        finally:
            if not connection.is_closed():
                await connection.execute("RESET lock_timeout")
    except asyncpg.PostgresError:
        if not connection.is_closed():
            await _drop_leftovers(connection)
        raise


async def _drop_leftovers(connection: Any) -> None:
    async for row in queries.reindex_leftovers(connection):
        await connection.execute(f'DROP INDEX CONCURRENTLY IF EXISTS "{row["index_name"]}"')
        log.info("reindex_leftover_dropped", index=row["index_name"])
