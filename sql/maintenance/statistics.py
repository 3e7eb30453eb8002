"""ANALYZE of the partitioned tables themselves: autovacuum analyzes only their partitions."""

from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from sql.queries import queries

log = structlog.get_logger(__name__)

MAX_AGE: Final = timedelta(days=7)
SUPPORTS_ANALYZE_ONLY: Final = (18,)  # PostgreSQL version


async def refresh_statistics(connection: Any, now: datetime) -> list[str]:
    """ANALYZE each partitioned table whose statistics are a week old, or whose row count has since changed by a fifth.

    Returns:
        The tables that were analyzed.
    """
    due = [row["parent"] async for row in queries.statistics_due(connection, before=now - MAX_AGE)]
    # Without ONLY, the partitions are analyzed as well.
    only = "ONLY " if connection.get_server_version() >= SUPPORTS_ANALYZE_ONLY else ""
    for parent in due:
        await connection.execute(f'ANALYZE {only}"{parent}"')
    if due:
        log.info("statistics_refreshed", tables=due)
    return due
