"""The maintenance loop: two schedules, each with tasks that run one after the other on a session of its own.

FREQUENT (every MAINTAIN_INTERVAL_SECONDS): partitions -> rollups -> evaluation -> trends -> merging -> dead_letters
HOURLY (tasks that may take hours): statistics -> folding -> retention

Any number of processes may run; one of them works and the others stand by. A failed task is logged, counted and retried in the
next round; the remaining tasks still run.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, Final

import asyncpg
import stamina
import structlog

from sql.analytics.efficiency import Thresholds
from sql.analytics.fault_state import Hysteresis
from sql.archive.manifest import ArchiveError
from sql.clocks import ClocksDisagreeError, require_agreeing_clocks
from sql.connection import DATABASE_ERRORS, connect
from sql.maintenance.fleet_evaluation import evaluate_fleet
from sql.maintenance.fleet_totals import store_fleet_totals
from sql.maintenance.folding import FoldingError, fold_days
from sql.maintenance.merging import merge_late_readings
from sql.maintenance.metrics import MaintenanceMetrics
from sql.maintenance.narrowing import narrow_partitions
from sql.maintenance.retention import drop_expired_months, expired_months
from sql.maintenance.rollups import refresh_rollups
from sql.maintenance.statistics import refresh_statistics
from sql.maintenance.trends import refresh_trends
from sql.partitions import begin_folding, ensure_partitions, oldest_kept
from sql.queries import queries
from sql.settings import MaintainSettings
from sql.slow_statements import log_slow_statements

log = structlog.get_logger(__name__)

FREQUENT_SESSION: Final = {"application_name": "energy-maintain"}
HOURLY_SESSION: Final = {"application_name": "energy-housekeeping", "lock_timeout": "30s"}
FREQUENT_STATEMENT_SECONDS: Final = 600.0  # after which a silent server is treated as gone
HOURLY_STATEMENT_SECONDS: Final = 24 * 3600.0
HOURLY_INTERVAL_SECONDS: Final = 3600
READERS: Final = 2  # with the session that stores, enough for two processors
LETTERS_PER_STATEMENT: Final = 10_000
FOLDING_SECONDS: Final = 1800.0  # after which no further day is begun, so that retention gets its turn
LOCK_ATTEMPTS: Final = 16  # two minutes of waiting: a writer that holds its lock for longer was evicted or timed out
SECONDS_PER_ROUND: Final = 20.0  # for tasks that can continue in the next round, so that every task gets its turn
TASK_ERRORS: Final = (ArchiveError, ClocksDisagreeError, FoldingError)  # their messages tell an operator what to do
Connection = Any  # asyncpg.Connection
Report = Callable[[str], None]
Task = Callable[[Connection, datetime, MaintainSettings], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Tasks that take turns on one session. `try_lock` tells whether this session may run them."""

    tasks: Sequence[str]
    session: dict[str, str]
    statement_seconds: float
    try_lock: Callable[[Connection], Awaitable[Any]]


async def maintain(settings: MaintainSettings, stop: asyncio.Event, metrics: MaintenanceMetrics) -> None:
    """Run both schedules until `stop`. A task under way is then cancelled; every task can be started again."""
    metrics.initialize(TASKS)
    async with asyncio.TaskGroup() as group:
        group.create_task(_repeat(FREQUENT, settings, stop, settings.maintain_interval_seconds, metrics))
        group.create_task(_repeat(HOURLY, settings, stop, HOURLY_INTERVAL_SECONDS, metrics))


async def maintain_once(settings: MaintainSettings, metrics: MaintenanceMetrics, report: Report) -> bool:
    """One round of each schedule; False when a task failed. Standing by for another process is no failure.

    `report` is called with a line for each task.
    """
    return all([await _run_round(schedule, settings, metrics, report) for schedule in (FREQUENT, HOURLY)])


async def _repeat(
    schedule: Schedule, settings: MaintainSettings, stop: asyncio.Event, interval: float, metrics: MaintenanceMetrics
) -> None:
    """Start a round every `interval` seconds, or when the previous one ends if it takes longer."""
    loop, stopped = asyncio.get_running_loop(), asyncio.create_task(stop.wait())
    while not stop.is_set():
        due = loop.time() + interval
        working = asyncio.create_task(_run_round(schedule, settings, metrics))
        await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            working.cancel()
            await asyncio.wait({working})
            return
        working.result()
        await asyncio.wait({stopped}, timeout=max(0.0, due - loop.time()))


async def _run_round(
    schedule: Schedule, settings: MaintainSettings, metrics: MaintenanceMetrics, report: Report = lambda _: None
) -> bool:
    try:
        connection = await connect(
            settings.database_url, command_timeout=schedule.statement_seconds, server_settings=schedule.session
        )
    except DATABASE_ERRORS as error:
        log.warning("maintenance_failed", task="connect", error=repr(error))
        return False
    log_slow_statements(connection, settings.sql_log_slower_than_ms)
    try:
        return await _run_tasks(connection, schedule, settings, metrics, report)
    except DATABASE_ERRORS as error:
        log.warning("maintenance_failed", task="begin", error=repr(error))
        return False
    finally:
        connection.terminate()


async def _run_tasks(
    connection: Connection,
    schedule: Schedule,
    settings: MaintainSettings,
    metrics: MaintenanceMetrics,
    report: Report,
) -> bool:
    # In every round, and on standby as well: Prometheus may scrape this process only.
    rows = queries.last_successes(connection, tasks=list(schedule.tasks))
    metrics.load_last_successes({row["task"]: row["at"] async for row in rows})
    if not (await schedule.try_lock(connection))["acquired"]:
        log.info("maintenance_standby", reason="another process maintains this database")
        report(f"{', '.join(schedule.tasks)}: left to another process that maintains this database")
        return True
    results = []
    for name in schedule.tasks:
        started = monotonic()
        results.append(await _run_task(name, TASKS[name], connection, settings, metrics))
        report(f"{name}: {'done' if results[-1] else 'failed'}, {monotonic() - started:.1f} s")
    return all(results)


async def _run_task(
    name: str, task: Task, connection: Connection, settings: MaintainSettings, metrics: MaintenanceMetrics
) -> bool:
    started, succeeded_at = monotonic(), None
    try:
        # Only the database's clock decides about data: hosts may disagree about the time.
        await task(connection, await queries.database_clock(connection), settings)
        succeeded_at = (await queries.record_success(connection, task=name))["at"]
    except (*DATABASE_ERRORS, *TASK_ERRORS) as error:
        # The repr of an OSError leaves out the file name.
        message = (isinstance(error, (*TASK_ERRORS, OSError)) and str(error)) or repr(error)
        log.warning("maintenance_failed", task=name, error=message, sqlstate=getattr(error, "sqlstate", None))
        await _record_failure(connection, name, message)
    except Exception as error:  # of our own code: the other tasks do not depend on it
        log.exception("maintenance_failed", task=name, error=repr(error))
        await _record_failure(connection, name, f"internal error: {error!r}")
    metrics.record(name, monotonic() - started, succeeded_at)
    return succeeded_at is not None


async def _record_failure(connection: Connection, task: str, error: str) -> None:
    with contextlib.suppress(*DATABASE_ERRORS):
        await queries.record_failure(connection, task=task, error=error)


async def _partitions(connection: Connection, now: datetime, settings: MaintainSettings) -> None:
    await begin_folding(connection, now, settings.fold_after_days)
    await ensure_partitions(connection, now, settings.retention_days)


async def _rollups(connection: Connection, now: datetime, settings: MaintainSettings) -> None:
    grace = timedelta(minutes=settings.rollup_grace_minutes)
    async with _further_sessions(settings, 1) as (second,):
        await refresh_rollups(connection, now, grace=grace, seconds=SECONDS_PER_ROUND, second=second)


async def _evaluation(connection: Connection, now: datetime, settings: MaintainSettings) -> None:
    rules = Hysteresis(settings.fault_open_after, settings.fault_close_after, settings.fault_close_from_percent)
    async with _further_sessions(settings, READERS) as readers:
        await evaluate_fleet(connection, now, Thresholds.from_settings(settings), rules, readers)
    await store_fleet_totals(connection)


async def _trends(connection: Connection, now: datetime, settings: MaintainSettings) -> None:
    await refresh_trends(connection, now, Thresholds.from_settings(settings), seconds=SECONDS_PER_ROUND)


async def _dead_letters(connection: Connection, now: datetime, settings: MaintainSettings) -> None:
    kept_from = now - timedelta(days=settings.dead_letter_retention_days)
    if not (await queries.has_expired_records(connection, before=kept_from))["expired"]:
        return
    await require_agreeing_clocks(connection)
    deleted, deadline = LETTERS_PER_STATEMENT, monotonic() + SECONDS_PER_ROUND
    while deleted == LETTERS_PER_STATEMENT and monotonic() < deadline:
        rows = queries.delete_resolved_letters(connection, resolved_before=kept_from, row_limit=LETTERS_PER_STATEMENT)
        deleted = (await rows)["letters"]
    await queries.delete_published_alerts(connection, published_before=kept_from)


async def _merging(connection: Connection, now: datetime, settings: MaintainSettings) -> None:
    since = oldest_kept(now, settings.retention_days)
    await merge_late_readings(connection, since=since, seconds=SECONDS_PER_ROUND)


@contextlib.asynccontextmanager
async def _further_sessions(settings: MaintainSettings, number: int) -> AsyncIterator[list[Connection]]:
    """Sessions beside that of the schedule, without its lock; their statements end with the block."""
    sessions: list[Connection] = []
    try:
        for _ in range(number):
            session = await connect(
                settings.database_url, command_timeout=FREQUENT_STATEMENT_SECONDS, server_settings=FREQUENT_SESSION
            )
            sessions.append(session)
            log_slow_statements(session, settings.sql_log_slower_than_ms)
        yield sessions
    finally:
        for session in sessions:
            session.terminate()


async def _statistics(connection: Connection, now: datetime, _: MaintainSettings) -> None:
    await refresh_statistics(connection, now)


async def _folding(connection: Connection, now: datetime, settings: MaintainSettings) -> None:
    after, deadline = timedelta(days=settings.fold_after_days), monotonic() + FOLDING_SECONDS
    async for attempt in _while_locked():
        with attempt:
            await narrow_partitions(connection, now)
            await fold_days(connection, now, after=after, seconds=deadline - monotonic())


async def _retention(connection: Connection, now: datetime, settings: MaintainSettings) -> None:
    if await expired_months(connection, now, settings.retention_days):
        await require_agreeing_clocks(connection)
    async for attempt in _while_locked():
        with attempt:
            dropped = await drop_expired_months(connection, now, settings.retention_days, settings.archive_directory)
    if dropped:
        await refresh_statistics(connection, now)


def _while_locked() -> Any:
    """Attempts until a lock is free. They have no timeout, which would count the work that was done before the lock was met."""
    return stamina.retry_context(
        on=asyncpg.LockNotAvailableError, attempts=LOCK_ATTEMPTS, timeout=None, wait_initial=1.0, wait_max=10.0
    )


# The names are values of the metric label `task` and of maintenance_runs.task.
TASKS: Final[dict[str, Task]] = {
    "partitions": _partitions,
    "rollups": _rollups,
    "evaluation": _evaluation,
    "trends": _trends,
    "merging": _merging,
    "dead_letters": _dead_letters,
    "statistics": _statistics,
    "folding": _folding,
    "retention": _retention,
}
HOURLY_TASKS: Final = ("statistics", "folding", "retention")
FREQUENT: Final = Schedule(
    tuple(name for name in TASKS if name not in HOURLY_TASKS),
    FREQUENT_SESSION,
    FREQUENT_STATEMENT_SECONDS,
    queries.try_lock_maintenance,
)
HOURLY: Final = Schedule(HOURLY_TASKS, HOURLY_SESSION, HOURLY_STATEMENT_SECONDS, queries.try_lock_housekeeping)
