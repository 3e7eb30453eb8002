"""The named queries of sql/queries/*.sql, with named parameters.

`async for row in queries.claim(connection, consumer_group=..., ...)` where rows come back, `await queries.recount(...)` where a
name ends in `!` (no rows) or `^` (one row or None) in its file.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import aiosql

# Any: aiosql makes one attribute per named query at import; a name that does not exist fails at once in any test that uses it.
queries: Final[Any] = aiosql.from_path(Path(__file__).parent / "queries", "asyncpg")


async def vehicle_id_batches(connection: Any, size: int) -> AsyncIterator[list[str]]:
    """The ids of all vehicles in ascending order, in batches of `size` ids; the last batch may be smaller."""
    after = ""
    while True:
        rows = queries.fleet_vehicles(connection, after=after, row_limit=size)
        vehicle_ids = [row["vehicle_id"] async for row in rows]
        if vehicle_ids:
            yield vehicle_ids
            after = vehicle_ids[-1]
        if len(vehicle_ids) < size:
            return
