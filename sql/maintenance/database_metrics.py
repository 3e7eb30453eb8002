"""Periodic measurement of the database: sizes, open faults, replicas, partitions ahead, the ledger."""

import asyncio
from time import monotonic
from typing import Any, Final

import structlog
from pydantic import SecretStr

from sql.clocks import read_clocks, read_offset
from sql.connection import DATABASE_ERRORS, READ_ONLY, connect
from sql.maintenance.metrics import NUMBERS, DatabaseState, Measurement, Tables
from sql.queries import queries

log = structlog.get_logger(__name__)

INTERVAL_SECONDS: Final = 15.0
TIMEOUT_SECONDS: Final = 30.0
SESSION: Final = READ_ONLY | {"application_name": "energy-measure"}
# Counting reads all dead letters and live status: it takes at most a twentieth of the time, and does not delay the other numbers.
COUNT_TIMEOUT_SECONDS: Final = 600.0
COUNT_SHARE: Final = 1 / 20
ALL_DEAD_LETTERS: Final = {"consumer_group": None, "topic": None, "reason": None, "since": None, "before": None}


async def keep_measuring(
    url: SecretStr, state: DatabaseState, fold_after_days: int, interval: float = INTERVAL_SECONDS
) -> None:
    """Measure until cancelled, over a connection of its own each time, so that stuck maintenance tasks do not stop it."""
    async with asyncio.TaskGroup() as group:
        group.create_task(_keep_measuring(url, state, fold_after_days, interval))
        group.create_task(_keep_counting(url, state, interval))


async def _keep_measuring(url: SecretStr, state: DatabaseState, fold_after_days: int, interval: float) -> None:
    while True:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                state.latest = await measure(url, fold_after_days)
        except DATABASE_ERRORS as error:
            state.latest = None
            log.warning("database_measurement_failed", error=repr(error))
        except Exception:  # of our own code: what cannot be measured must not stay as it was
            state.latest = None
            log.exception("database_measurement_failed")
        await asyncio.sleep(interval)


async def _keep_counting(url: SecretStr, state: DatabaseState, interval: float) -> None:
    while True:
        began = monotonic()
        try:
            async with asyncio.timeout(COUNT_TIMEOUT_SECONDS):
                state.counts = await count_dead_letters(url)
        except DATABASE_ERRORS as error:
            state.counts = {}
            log.warning("dead_letter_count_failed", error=repr(error))
        except Exception:  # of our own code
            state.counts = {}
            log.exception("dead_letter_count_failed")
        await asyncio.sleep(max(interval, (monotonic() - began) / COUNT_SHARE))


async def measure(url: SecretStr, fold_after_days: int) -> Measurement:
    """One measurement.

    Args:
        url: of the schema's owner; replication lag also needs pg_read_all_stats.
        fold_after_days: when a day is due for folding.
    """
    connection = await connect(url, server_settings=SESSION)
    try:
        found = {
            **await queries.measure_database(connection, fold_after_days=fold_after_days),
            **await queries.measure_snapshots(connection),
            "database_clock_offset_seconds": (await read_offset(connection)).total_seconds(),
        }
        sizes = [tuple(row) async for row in queries.measure_tables(connection)]
    finally:
        connection.terminate()
    return Measurement({name: _number(found[name]) for name in NUMBERS}, {"table_bytes": sizes})


async def count_dead_letters(url: SecretStr) -> Tables:
    """What takes longer the more dead letters, or devices, there are."""
    connection = await connect(url, server_settings=SESSION)
    try:
        mismatches = [tuple(row) async for row in queries.measure_ledger(connection)]
        age = (await read_clocks(connection)).reading_age
        letters = [row async for row in queries.count_letters(connection, **ALL_DEAD_LETTERS)]
        return {
            "newest_reading_age_seconds": [] if age is None else [(age.total_seconds(),)],
            "ledger_mismatch_records": mismatches,
            "dead_letters_unresolved": [(row["topic"], row["reason"], row["letters"]) for row in letters],
        }
    finally:
        connection.terminate()


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
