"""The database in numbers, from time to time: sizes, faults, replicas, partitions ahead, the ledger."""

import asyncio
from typing import Any, Final

import asyncpg
import structlog
from pydantic import SecretStr

from sql.connection import DATABASE_FAULTS
from sql.maintenance.metrics import NUMBERS, DatabaseState, Measured
from sql.queries import queries

log = structlog.get_logger(__name__)

EVERY_SECONDS: Final = 15.0
PATIENCE_SECONDS: Final = 30.0
SESSION: Final = {"application_name": "energy-measure", "default_transaction_read_only": "on", "jit": "off"}
ANY_LETTER: Final = {"consumer_group": None, "topic": None, "reason": None, "since": None, "before": None}


async def keep_measuring(url: SecretStr, state: DatabaseState, every: float = EVERY_SECONDS) -> None:
    """Measure until cancelled, whether or not the tasks of maintenance get on; over a connection of its own each time."""
    while True:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                state.measured = await measure(url)
        except DATABASE_FAULTS as error:
            state.measured = None
            log.warning("database_not_measured", error=repr(error))
        await asyncio.sleep(every)


async def measure(url: SecretStr) -> Measured:
    """The database now.

    Args:
        url: of the schema's owner; lag of replicas takes pg_read_all_stats besides.
    """
    connection = await asyncpg.connect(url.get_secret_value(), timeout=10, server_settings=SESSION)
    try:
        found = await queries.measure_database(connection)
        letters = [row async for row in queries.count_letters(connection, **ANY_LETTER)]
        return Measured(
            numbers={name: _number(found[name]) for name in NUMBERS},
            tables={
                "ledger_mismatch_records": [tuple(row) async for row in queries.measure_ledger(connection)],
                "table_bytes": [tuple(row) async for row in queries.measure_tables(connection)],
                "dead_letters_unresolved": [(row["topic"], row["reason"], row["letters"]) for row in letters],
            },
        )
    finally:
        connection.terminate()


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
