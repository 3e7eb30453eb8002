"""Housekeeping, round by round: partitions -> rollups -> the fleet judged -> trends -> settled dead letters.

What may take hours has rounds of its own beside them: statistics -> retention -> packing.
Any number may run; one works, the others stand by. A task that fails says so and does not keep the others from their turn.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, Final

import asyncpg
import structlog

from sql.analytics.efficiency import Thresholds
from sql.analytics.fault_state import Hysteresis
from sql.archive.manifest import ArchiveError
from sql.connection import DATABASE_FAULTS
from sql.maintenance.fleet_evaluation import evaluate_fleet
from sql.maintenance.metrics import MaintenanceMetrics
from sql.maintenance.reindexing import pack_indexes
from sql.maintenance.retention import retire_months
from sql.maintenance.rollups import refresh_rollups
from sql.maintenance.statistics import refresh_statistics
from sql.maintenance.trends import refresh_trends
from sql.partitions import ensure_partitions
from sql.queries import queries
from sql.settings import MaintainSettings
from sql.slow_statements import log_slow_statements

log = structlog.get_logger(__name__)

STATEMENT_SECONDS: Final = 600.0  # a server that is silent for longer counts as gone
SECONDS_A_ROUND: Final = 20.0  # for what can be continued in the next one, so that every task gets its turn
SESSION: Final = {"application_name": "energy-maintain", "jit": "off"}
# Of the long ones: they wait half a minute for others, never others for them, and files say times in UTC.
LONG_SESSION: Final = {
    "application_name": "energy-housekeeping",
    "jit": "off",
    "lock_timeout": "30s",
    "timezone": "UTC",
    "datestyle": "ISO",
}
LONG_STATEMENT_SECONDS: Final = 24 * 3600.0
LONG_INTERVAL_SECONDS: Final = 3600
Connection = Any  # asyncpg.Connection
Say = Callable[[str], None]
Task = Callable[[Connection, datetime, MaintainSettings], Awaitable[Any]]


async def maintain(settings: MaintainSettings, stop: asyncio.Event, metrics: MaintenanceMetrics) -> None:
    """Rounds of both kinds until `stop`; what is under way then is given up, for every step can be begun anew."""
    metrics.know(TASKS)
    async with asyncio.TaskGroup() as group:
        group.create_task(_rounds(QUICK, settings, stop, settings.maintain_interval_seconds, metrics))
        group.create_task(_rounds(LONG, settings, stop, LONG_INTERVAL_SECONDS, metrics))


async def _rounds(
    kind: "_Round", settings: MaintainSettings, stop: asyncio.Event, interval: float, metrics: MaintenanceMetrics
) -> None:
    """Rounds of one kind, each begun when a pause has passed since the last one began."""
    loop, stopped = asyncio.get_running_loop(), asyncio.create_task(stop.wait())
    while not stop.is_set():
        due = loop.time() + interval
        working = asyncio.create_task(_round(kind, settings, metrics))
        await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            working.cancel()
            await asyncio.wait({working})
            return
        working.result()
        await asyncio.wait({stopped}, timeout=max(0.0, due - loop.time()))


async def maintain_once(settings: MaintainSettings, metrics: MaintenanceMetrics, say: Say) -> bool:
    """One round of each kind; whether every task went well. Nothing to do counts as well: another one is at work.

    `say` is told of every task how it went.
    """
    return all([await _round(kind, settings, metrics, say) for kind in (QUICK, LONG)])


async def _round(
    kind: "_Round", settings: MaintainSettings, metrics: MaintenanceMetrics, say: Say = lambda _: None
) -> bool:
    try:
        connection = await asyncpg.connect(
            settings.database_url.get_secret_value(),
            timeout=10,
            command_timeout=kind.statement_seconds,
            server_settings=kind.session,
        )
    except DATABASE_FAULTS as error:
        log.warning("maintenance_failed", task="connect", error=repr(error))
        return False
    log_slow_statements(connection, settings.sql_log_slower_than_ms)
    try:
        # in every round: one that stands by should say it too, for it may be the only one left to ask
        rows = queries.last_successes(connection, tasks=list(kind.tasks))
        metrics.recall({row["task"]: row["at"] async for row in rows})
        if not (await kind.alone(connection))["alone"]:
            log.info("maintenance_stands_by", reason="another process maintains this database")
            say(f"{', '.join(kind.tasks)}: left to another process, which maintains this database")
            return True
        done = []
        for name in kind.tasks:
            began = monotonic()
            done.append(await _do(name, TASKS[name], connection, settings, metrics))
            say(f"{name}: {'done' if done[-1] else 'failed'}, {monotonic() - began:.1f} s")
        return all(done)
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
        await queries.note_success(connection, task=name)
    except (*DATABASE_FAULTS, ArchiveError) as error:
        named = isinstance(error, (ArchiveError, OSError)) and str(error)  # repr leaves out the name of the file
        said = named or repr(error)
        log.warning("maintenance_failed", task=name, error=said, sqlstate=getattr(error, "sqlstate", None))
        with contextlib.suppress(*DATABASE_FAULTS):
            await queries.note_failure(connection, task=name, error=said)
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


async def _statistics(connection: Connection, now: datetime, _: MaintainSettings) -> None:
    await refresh_statistics(connection, now)


async def _retention(connection: Connection, now: datetime, settings: MaintainSettings) -> None:
    if await retire_months(connection, now, settings.retention_days, settings.archive_directory):
        await refresh_statistics(connection, now)


async def _packing(connection: Connection, now: datetime, settings: MaintainSettings) -> None:
    await pack_indexes(connection, now, most=settings.pack_open_key_gib * 2**30)


@dataclass(frozen=True, slots=True)
class _Round:
    """Tasks that take turns on one session; `alone` says whether it is the only one of its kind."""

    tasks: Iterable[str]
    session: dict[str, str]
    statement_seconds: float
    alone: Callable[[Connection], Awaitable[Any]]


TASKS: Final[dict[str, Task]] = {
    "partitions": _partitions,
    "rollups": _rollups,
    "evaluation": _evaluation,
    "trends": _trends,
    "dead_letters": _dead_letters,
    "statistics": _statistics,
    "retention": _retention,
    "packing": _packing,
}
TAKE_LONG: Final = ("statistics", "retention", "packing")
QUICK: Final = _Round(
    tuple(name for name in TASKS if name not in TAKE_LONG), SESSION, STATEMENT_SECONDS, queries.one_maintains
)
LONG: Final = _Round(TAKE_LONG, LONG_SESSION, LONG_STATEMENT_SECONDS, queries.alone_in_housekeeping)
