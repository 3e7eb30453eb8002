"""Statistics of the partitioned tables themselves: the server's autovacuum looks at their partitions alone."""

from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from sql.queries import queries

log = structlog.get_logger(__name__)

EVERY: Final = timedelta(days=7)
KNOWS_ONLY: Final = (18,)


async def refresh_statistics(connection: Any, now: datetime) -> list[str]:
    """ANALYZE each partitioned table whose statistics are a week old, or whose size is another one by a fifth since.

    Returns:
        The tables that were looked at.
    """
    due = [row["parent"] async for row in queries.statistics_due(connection, before=now - EVERY)]
    only = "ONLY " if connection.get_server_version() >= KNOWS_ONLY else ""  # before, the partitions are looked at too
    for parent in due:
        await connection.execute(f'ANALYZE {only}"{parent}"')
    if due:
        log.info("statistics_refreshed", tables=due)
    return due
