"""The named queries of sql/queries/*.sql, with named parameters.

`async for row in queries.claim(connection, consumer_group=..., ...)` where rows come back, `await queries.recount(...)` where a
name ends in `!` (no rows) or `^` (one row or None) in its file.
"""

from pathlib import Path
from typing import Any, Final

import aiosql

# Any: aiosql makes one attribute per named query at import; a name that does not exist fails at once in any test that uses it.
queries: Final[Any] = aiosql.from_path(Path(__file__).parent / "queries", "asyncpg")
