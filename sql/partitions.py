"""Monthly partitions of the histories, from the oldest month that is kept to two months ahead, by the server's clock."""

from datetime import datetime, timedelta
from typing import Final

import asyncpg
import structlog

from sql.queries import queries

log = structlog.get_logger(__name__)

AHEAD: Final = timedelta(days=62)  # at least two months beyond the one that runs


async def ensure_partitions(
    connection: "asyncpg.Connection[asyncpg.Record]", now: datetime, retention_days: int
) -> list[str]:
    """Make the partitions that are missing; the names of the new ones. Safe to run at any time, on any number of machines."""
    # One day more than the retention: a reading may be accepted on one side of midnight and written on the other.
    oldest = now - timedelta(days=retention_days + 1)
    made = [
        str(row["partition"]) async for row in queries.ensure_partitions(connection, oldest=oldest, newest=now + AHEAD)
    ]
    if made:
        log.info("partitions_made", count=len(made), first=made[0], last=made[-1])
    return made
