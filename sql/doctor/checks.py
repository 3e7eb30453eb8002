"""The checks of `python -m sql doctor`: each runs a few queries and turns their rows into one finding.

query -> rows -> engine_findings, server_findings -> Finding

A query that fails (missing privilege, timeout) becomes a finding as well; the remaining checks still run.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import asyncpg

from sql.clocks import read_clocks
from sql.connection import READ_ONLY, READER_SETTINGS, WRITER_SETTINGS
from sql.connection import SESSION as SESSION_SETTINGS
from sql.doctor import engine_findings, server_findings
from sql.doctor.server_findings import Finding
from sql.partitions import HISTORY_OF, ROWS, list_partitions
from sql.queries import queries
from sql.settings import DoctorSettings

SESSION: Final = READ_ONLY | {"application_name": "energy-doctor", "statement_timeout": "10s", "lock_timeout": "2s"}
ROW_COUNT_TIMEOUT: Final = "1h"  # for the rows of the whole history
OUR_SETTINGS: Final = {
    name: {session[name].lower() for session in (SESSION_SETTINGS, WRITER_SETTINGS, READER_SETTINGS)}
    for name in SESSION_SETTINGS
}
Connection = Any  # asyncpg.Connection
Check = Callable[[Connection, DoctorSettings], Awaitable[Finding]]


async def examine(connection: Connection, settings: DoctorSettings, *, count_rows: bool) -> list[Finding]:
    """The findings of all checks, in a fixed order.

    Args:
        connection: opened with SESSION, by the schema's owner or a login with the same read privileges.
        settings: retention, intervals, topics and pool size to compare the database with.
        count_rows: count all rows for the ledger, however long that takes.
    """
    checks = CHECKS | ({"ledger": _ledger_with_rows} if count_rows else {})
    return [await _run(name, check, connection, settings) for name, check in checks.items()]


async def _run(name: str, check: Check, connection: Connection, settings: DoctorSettings) -> Finding:
    try:
        return await check(connection, settings)
    except asyncpg.InsufficientPrivilegeError as error:
        return Finding(
            name, "warn", f"check failed: {error}", "run it as the owner of the schema, with the role pg_monitor"
        )
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError, asyncpg.UndefinedFunctionError) as error:
        return Finding(name, "fail", f"check failed: {error}", "run python -m sql migrate")
    except (asyncpg.QueryCanceledError, asyncpg.LockNotAvailableError) as error:
        return Finding(
            name,
            "warn",
            f"check timed out: {error}",
            "see what keeps the server busy: transactions, slow_statements",
        )
    except asyncpg.PostgresError as error:
        return Finding(name, "warn", f"check failed: {error}", "report this message")


async def _all(rows: Any) -> list[Any]:
    return [row async for row in rows]


async def _server(connection: Connection, _: DoctorSettings) -> Finding:
    return server_findings.server(
        await queries.check_build(connection), await _all(queries.check_fleet_settings(connection))
    )


async def _durability(connection: Connection, _: DoctorSettings) -> Finding:
    return server_findings.durability(await queries.check_durability(connection))


async def _settings(connection: Connection, _: DoctorSettings) -> Finding:
    return server_findings.settings(await _all(queries.check_inherited_settings(connection)), OUR_SETTINGS)


async def _cache(connection: Connection, _: DoctorSettings) -> Finding:
    return server_findings.cache(await queries.check_cache(connection))


async def _indexes(connection: Connection, _: DoctorSettings) -> Finding:
    return server_findings.indexes(
        await _all(queries.check_unused_indexes(connection)),
        await _all(queries.check_missing_indexes(connection)),
        await _all(queries.check_invalid_indexes(connection)),
    )


async def _slow_statements(connection: Connection, _: DoctorSettings) -> Finding:
    extension = await queries.check_statements_extension(connection)
    rows = await _all(queries.check_slow_statements(connection)) if extension["installed"] else []
    return server_findings.slow_statements(extension, rows)


async def _live_tables(connection: Connection, _: DoctorSettings) -> Finding:
    return server_findings.live_tables(await _all(queries.check_live_tables(connection)))


async def _statistics(connection: Connection, _: DoctorSettings) -> Finding:
    return server_findings.statistics(await _all(queries.check_statistics(connection)))


async def _partitions(connection: Connection, settings: DoctorSettings) -> Finding:
    tables = await list_partitions(connection, (*ROWS, *HISTORY_OF))
    rows_from = (await queries.folding_state(connection))["folding_before"]
    now = await queries.database_clock(connection)
    return engine_findings.partitions(tables, now, settings.retention_days, rows_from)


async def _folding(connection: Connection, settings: DoctorSettings) -> Finding:
    return engine_findings.folding((await queries.check_folding(connection))["seconds"], settings.fold_after_days)


async def _clocks(connection: Connection, _: DoctorSettings) -> Finding:
    ahead = (await queries.check_watermark(connection))["seconds_ahead"]
    return engine_findings.clocks(await read_clocks(connection), ahead)


async def _replication(connection: Connection, _: DoctorSettings) -> Finding:
    if (await queries.check_server(connection))["standby"]:
        return server_findings.replication([], [], (await queries.check_standby(connection))["seconds"] or 0)
    replicas, slots = await _all(queries.check_replicas(connection)), await _all(queries.check_slots(connection))
    return server_findings.replication(replicas, slots, None)


async def _ledger(connection: Connection, settings: DoctorSettings) -> Finding:
    """Compares with the stored rows too, if they can be counted within ten seconds."""
    try:
        return await _ledger_with_rows(connection, settings, "10s")
    except asyncpg.QueryCanceledError:
        return engine_findings.ledger(await _all(queries.check_ledger_sums(connection)), None)


async def _ledger_with_rows(
    connection: Connection, settings: DoctorSettings, timeout: str = ROW_COUNT_TIMEOUT
) -> Finding:
    unbalanced = await _all(queries.check_ledger_sums(connection))
    async with connection.transaction():
        await connection.fetchval("SELECT set_config('statement_timeout', $1, true)", timeout)
        rows = await _all(
            queries.ledger(
                connection,
                meter_topics=settings.meter_topics,
                vehicle_topics=settings.vehicle_topics,
                assignment_topics=settings.assignment_topics,
                register_topics=settings.register_topics,
            )
        )
    return engine_findings.ledger(unbalanced, rows)


async def _connections(connection: Connection, settings: DoctorSettings) -> Finding:
    return server_findings.connections(await queries.check_connections(connection), settings.database_pool_size)


async def _dead_letters(connection: Connection, _: DoctorSettings) -> Finding:
    return engine_findings.dead_letters(await _all(queries.check_dead_letters(connection)))


async def _topics(connection: Connection, _: DoctorSettings) -> Finding:
    breakers = await _all(queries.check_breakers(connection))
    return engine_findings.topics(breakers, await _all(queries.check_stalled_partitions(connection)))


async def _transactions(connection: Connection, _: DoctorSettings) -> Finding:
    rows = await _all(
        queries.check_transactions(
            connection, idle_seconds=server_findings.IDLE_SECONDS, busy_seconds=server_findings.BUSY_SECONDS
        )
    )
    prepared = (await queries.check_prepared_transactions(connection))["prepared"]
    held = [
        row async for row in queries.check_snapshots(connection, transactions=server_findings.SNAPSHOT_TRANSACTIONS)
    ]
    return server_findings.transactions(rows, prepared, held)


async def _wraparound(connection: Connection, _: DoctorSettings) -> Finding:
    return server_findings.wraparound(await queries.check_wraparound(connection))


async def _maintenance(connection: Connection, settings: DoctorSettings) -> Finding:
    seconds = (await queries.check_maintenance(connection))["seconds"]
    failed = await _all(queries.check_failed_tasks(connection))
    return engine_findings.maintenance(seconds, failed, settings.maintain_interval_seconds)


async def _late_hours(connection: Connection, _: DoctorSettings) -> Finding:
    return engine_findings.late_hours(await queries.check_late_hours(connection))


async def _alerts(connection: Connection, _: DoctorSettings) -> Finding:
    return engine_findings.alerts(await queries.check_alert_outbox(connection))


CHECKS: Final[dict[str, Check]] = {
    "server": _server,
    "durability": _durability,
    "settings": _settings,
    "ledger": _ledger,
    "topics": _topics,
    "dead_letters": _dead_letters,
    "partitions": _partitions,
    "folding": _folding,
    "clocks": _clocks,
    "maintenance": _maintenance,
    "late_hours": _late_hours,
    "alerts": _alerts,
    "connections": _connections,
    "transactions": _transactions,
    "replication": _replication,
    "wraparound": _wraparound,
    "cache": _cache,
    "indexes": _indexes,
    "live_tables": _live_tables,
    "statistics": _statistics,
    "slow_statements": _slow_statements,
}
