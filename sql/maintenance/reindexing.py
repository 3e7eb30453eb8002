"""Primary keys of history, built anew: the half-empty pages that every device's run leaves behind become full ones.

A month that is being written is packed whenever its key has grown by half since, a month that is over once more, for good.
No lock that keeps readers or writers waiting is taken. What was interrupted is begun again.
"""

from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg
import structlog

from sql.connection import DATABASE_FAULTS
from sql.queries import queries

log = structlog.get_logger(__name__)

GRACE: Final = timedelta(days=2)  # after the end of a month: most of what is late has come by then
GROWTH: Final = 1.5  # a smaller one writes more, a larger one keeps more half-empty pages: docs/decisions/0009
# Bytes of the key of a month that is not over. Right after it is built anew, every device's last page is split once more.
LEAST: Final = 2**29
# For transactions that are older than the build; nobody waits for us meanwhile, and to give up is to build it all again.
PATIENCE: Final = "1h"


async def pack_indexes(connection: Any, now: datetime, *, most: int, least: int = LEAST) -> list[str]:
    """Pack the primary keys that are due.

    Args:
        connection: of the schema's owner, in no transaction.
        now: the server's clock.
        most: bytes of the key of a month that is not over; a larger one is left until then.
        least: likewise; a smaller one gains little.

    Returns:
        The indexes that were built anew.

    Raises:
        asyncpg.PostgresError, OSError: the first of those that failed; the others were packed all the same.
    """
    await _drop_leftovers(connection)
    due = [
        row
        async for row in queries.indexes_to_pack(
            connection, now=now, grace=GRACE, least=least, most=most, growth=GROWTH
        )
    ]
    failures = []
    for row in due:
        try:
            await _pack(connection, row, now)
        except DATABASE_FAULTS as error:
            log.warning("packing_failed", index=row["index_name"], error=repr(error))
            failures.append(error)
    if failures:
        raise failures[0]
    return [row["index_name"] for row in due]


async def _pack(connection: Any, row: Any, now: datetime) -> None:
    name = row["index_name"]
    if row["begun_with"] in {None, row["built"]}:
        await queries.begin_packing(connection, index_name=name, built=row["built"], bytes=row["bytes"], now=now)
        await _build(connection, name)
    packed = await queries.end_packing(connection, index_name=name)
    if packed["bytes_before"] > packed["bytes_after"]:
        log.info("index_packed", index=name, bytes_before=packed["bytes_before"], bytes_after=packed["bytes_after"])


async def _build(connection: Any, name: str) -> None:
    """A build that fails leaves nothing behind: an index that is written to and never read, or half of one on a full disk."""
    try:
        await connection.execute(f"SET lock_timeout = '{PATIENCE}'")
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
    async for row in queries.leftovers_of_packing(connection):
        await connection.execute(f'DROP INDEX CONCURRENTLY IF EXISTS "{row["index_name"]}"')
        log.info("packing_leftover_dropped", index=row["index_name"])
