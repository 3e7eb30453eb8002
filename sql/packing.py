"""Indexes of months that are over, built anew: half-empty pages at the end of every device's run become full ones.

No lock that keeps readers or writers waiting is taken. Each index is done once; an interrupted one is begun again.
"""

from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from sql.queries import queries

log = structlog.get_logger(__name__)

GRACE: Final = timedelta(days=2)  # after the end of a month: most of what is late has come by then


async def pack_indexes(connection: Any, now: datetime) -> list[str]:
    """Pack the primary keys of every month that has been over for two days and was not packed yet.

    Args:
        connection: of the schema's owner, in no transaction.
        now: the server's clock.

    Returns:
        The indexes that were built anew.
    """
    async for row in queries.leftovers_of_packing(connection):
        await connection.execute(f'DROP INDEX CONCURRENTLY IF EXISTS "{row["index_name"]}"')
        log.info("packing_leftover_dropped", index=row["index_name"])
    month = (now - GRACE).date().replace(day=1)
    due = [row async for row in queries.indexes_to_pack(connection, month=month)]
    for row in due:
        name = row["index_name"]
        if row["begun_with"] in {None, row["built"]}:
            await queries.begin_packing(connection, index_name=name, built=row["built"], bytes=row["bytes"])
            await connection.execute(f'REINDEX INDEX CONCURRENTLY "{name}"')
        packed = await queries.end_packing(connection, index_name=name)
        if packed["bytes_before"] > packed["bytes_after"]:
            log.info("index_packed", index=name, bytes_before=packed["bytes_before"], bytes_after=packed["bytes_after"])
    return [row["index_name"] for row in due]
