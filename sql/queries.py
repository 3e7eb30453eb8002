"""The named queries of sql/queries/*.sql, called with keyword arguments.

A name without a suffix returns an async iterator of rows (`async for row in queries.claim(connection, consumer_group=..., ...)`).
With `!` in its file it returns no rows, with `^` one row or None, with `$` one value (`await queries.recount(...)`).
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import aiosql
import aiosql.query_loader

# Our files have no comments in /* */. aiosql looks for them with an expression that matches at every character, which takes two
# thirds of the time of loading.
aiosql.query_loader._remove_ml_comments = lambda code: code  # noqa: SLF001

# Any: aiosql creates one attribute per query at import time. A misspelled name fails in any test that uses it.
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
