"""Housekeeping, round by round: partitions -> rollups -> the fleet judged -> trends -> settled dead letters.

Any number may run; one works, the others stand by. A task that fails says so and does not keep the others from their turn.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, Final

import asyncpg
import structlog

from sql.connection import DATABASE_FAULTS
from sql.efficiency import Thresholds
from sql.evaluation import evaluate_fleet
from sql.faults import Hysteresis
from sql.metrics import MaintenanceMetrics
from sql.partitions import ensure_partitions
from sql.queries import queries
from sql.rollups import refresh_rollups
from sql.settings import MaintainSettings
from sql.trends import refresh_trends

log = structlog.get_logger(__name__)

STATEMENT_SECONDS: Final = 600.0  # a server that is silent for longer counts as gone
SECONDS_A_ROUND: Final = 20.0  # for what can be continued in the next one, so that every task gets its turn
SESSION: Final = {"application_name": "energy-maintain", "jit": "off"}
Connection = Any  # asyncpg.Connection
Task = Callable[[Connection, datetime, MaintainSettings], Awaitable[Any]]


async def maintain(settings: MaintainSettings, stop: asyncio.Event, metrics: MaintenanceMetrics) -> None:
    """Rounds, each begun when a pause has passed since the last one began, until `stop`; what is under way then is given up,
    for every step can be begun anew.
    """
    loop, stopped = asyncio.get_running_loop(), asyncio.create_task(stop.wait())
    while not stop.is_set():
        due = loop.time() + settings.maintain_interval_seconds
        working = asyncio.create_task(maintain_once(settings, metrics))
        await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            working.cancel()
            await asyncio.wait({working})
            return
        working.result()
        await asyncio.wait({stopped}, timeout=max(0.0, due - loop.time()))


async def maintain_once(settings: MaintainSettings, metrics: MaintenanceMetrics) -> bool:
    """One round; whether every task of it went well. Nothing to do counts as well: another one is at work."""
    metrics.know(TASKS)
    try:
        connection = await asyncpg.connect(
            settings.database_url.get_secret_value(),
            timeout=10,
            command_timeout=STATEMENT_SECONDS,
            server_settings=SESSION,
        )
    except DATABASE_FAULTS as error:
        log.warning("maintenance_failed", task="connect", error=repr(error))
        return False
    try:
        if not (await queries.one_maintains(connection))["alone"]:
            log.info("maintenance_stands_by", reason="another process maintains this database")
            return True
        return all([await _do(name, task, connection, settings, metrics) for name, task in TASKS.items()])
    except DATABASE_FAULTS as error:
        log.warning("maintenance_failed", task="begin", error=repr(error))
        return False
    finally:
        connection.terminate()


async def _do(
    name: str, task: Task, connection: Connection, settings: MaintainSettings, metrics: MaintenanceMetrics
) -> bool:
    began, well = monotonic(), True
    try:
        await task(connection, datetime.now(UTC), settings)
    except DATABASE_FAULTS as error:
        log.warning("maintenance_failed", task=name, error=repr(error), sqlstate=getattr(error, "sqlstate", None))
        well = False
    metrics.done(name, monotonic() - began, well=well)
    return well


async def _partitions(connection: Connection, now: datetime, settings: MaintainSettings) -> None:
    await ensure_partitions(connection, now, settings.retention_days)


async def _rollups(connection: Connection, now: datetime, settings: MaintainSettings) -> None:
    kept = timedelta(days=settings.retention_days)
    grace = timedelta(minutes=settings.rollup_grace_minutes)
    await refresh_rollups(connection, now, grace=grace, oldest=now - kept, seconds=SECONDS_A_ROUND)


async def _evaluation(connection: Connection, now: datetime, settings: MaintainSettings) -> None:
    rules = Hysteresis(settings.fault_open_after, settings.fault_close_after, settings.fault_close_from_percent)
    await evaluate_fleet(connection, now, Thresholds.of(settings), rules)


async def _trends(connection: Connection, now: datetime, settings: MaintainSettings) -> None:
    await refresh_trends(connection, now, Thresholds.of(settings), seconds=SECONDS_A_ROUND)


async def _dead_letters(connection: Connection, now: datetime, settings: MaintainSettings) -> None:
    kept = timedelta(days=settings.dead_letter_retention_days)
    await queries.retire_letters(connection, resolved_before=now - kept)
    await queries.retire_alerts(connection, published_before=now - kept)


TASKS: Final[dict[str, Task]] = {
    "partitions": _partitions,
    "rollups": _rollups,
    "evaluation": _evaluation,
    "trends": _trends,
    "dead_letters": _dead_letters,
}
