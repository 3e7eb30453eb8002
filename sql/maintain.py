"""Housekeeping, round by round: partitions -> rollups -> the fleet judged -> trends -> settled dead letters.

Any number may run; one works, the others stand by. A task that fails says so and does not keep the others from their turn.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg
import structlog

from sql.connection import DATABASE_FAULTS
from sql.efficiency import Thresholds
from sql.evaluation import evaluate_fleet
from sql.faults import Hysteresis
from sql.partitions import ensure_partitions
from sql.queries import queries
from sql.rollups import refresh_rollups
from sql.settings import MaintainSettings
from sql.trends import refresh_trends

log = structlog.get_logger(__name__)

SESSION: Final = {"application_name": "energy-maintain", "jit": "off"}
Connection = Any  # asyncpg.Connection
Task = Callable[[Connection, datetime, MaintainSettings], Awaitable[Any]]


async def maintain(settings: MaintainSettings, stop: asyncio.Event) -> None:
    """Rounds, each begun when a pause has passed since the last one began, until `stop`."""
    while not stop.is_set():
        began = asyncio.get_running_loop().time()
        await maintain_once(settings)
        pause = began + settings.maintain_interval_seconds - asyncio.get_running_loop().time()
        try:
            await asyncio.wait_for(stop.wait(), max(0.0, pause))
        except TimeoutError:
            continue


async def maintain_once(settings: MaintainSettings) -> bool:
    """One round; whether every task of it went well. Nothing to do counts as well: another one is at work."""
    try:
        connection = await asyncpg.connect(
            settings.database_url.get_secret_value(), timeout=10, server_settings=SESSION
        )
    except DATABASE_FAULTS as error:
        log.warning("maintenance_failed", task="connect", error=repr(error))
        return False
    try:
        if not (await queries.one_maintains(connection))["alone"]:
            log.info("maintenance_stands_by", reason="another process maintains this database")
            return True
        now = datetime.now(UTC)
        return all([await _do(name, task, connection, now, settings) for name, task in TASKS.items()])
    finally:
        connection.terminate()


async def _do(name: str, task: Task, connection: Connection, now: datetime, settings: MaintainSettings) -> bool:
    try:
        await task(connection, now, settings)
    except DATABASE_FAULTS as error:
        log.warning("maintenance_failed", task=name, error=repr(error), sqlstate=getattr(error, "sqlstate", None))
        return False
    return True


async def _partitions(connection: Connection, now: datetime, settings: MaintainSettings) -> None:
    await ensure_partitions(connection, now, settings.retention_days)


async def _rollups(connection: Connection, now: datetime, settings: MaintainSettings) -> None:
    await refresh_rollups(connection, now, grace=timedelta(minutes=settings.rollup_grace_minutes))


async def _evaluation(connection: Connection, now: datetime, settings: MaintainSettings) -> None:
    rules = Hysteresis(settings.fault_open_after, settings.fault_close_after, settings.fault_close_from_percent)
    await evaluate_fleet(connection, now, Thresholds.of(settings), rules)


async def _trends(connection: Connection, now: datetime, settings: MaintainSettings) -> None:
    await refresh_trends(connection, now, Thresholds.of(settings))


async def _dead_letters(connection: Connection, now: datetime, settings: MaintainSettings) -> None:
    kept = timedelta(days=settings.dead_letter_retention_days)
    await queries.retire_letters(connection, resolved_before=now - kept)


TASKS: Final[dict[str, Task]] = {
    "partitions": _partitions,
    "rollups": _rollups,
    "evaluation": _evaluation,
    "trends": _trends,
    "dead_letters": _dead_letters,
}
