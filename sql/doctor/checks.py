"""The health of the database in findings: each check asks a few questions and has the answers judged.

A check that cannot ask (no privilege, too slow an answer) says so and does not keep the others from asking.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg

from sql.doctor import engine_findings as standing
from sql.doctor import server_findings as findings
from sql.doctor.server_findings import Finding
from sql.queries import queries
from sql.settings import DoctorSettings

SESSION: Final = {
    "application_name": "energy-doctor",
    "default_transaction_read_only": "on",
    "statement_timeout": "10s",
    "lock_timeout": "2s",
    "jit": "off",
}
COUNTING: Final = "1h"  # for the rows of the whole history
Connection = Any  # asyncpg.Connection
Check = Callable[[Connection, DoctorSettings], Awaitable[Finding]]


async def examine(connection: Connection, settings: DoctorSettings, *, count_rows: bool) -> list[Finding]:
    """Every check, in an order that never changes.

    Args:
        connection: with SESSION; of the schema's owner, or of a login that may read as much.
        settings: what is expected of the database.
        count_rows: whether the ledger is compared with the rows themselves, however long that takes.
    """
    checks = CHECKS | ({"ledger": _whole_ledger} if count_rows else {})
    return [await _ask(name, check, connection, settings) for name, check in checks.items()]


async def _ask(name: str, check: Check, connection: Connection, settings: DoctorSettings) -> Finding:
    try:
        return await check(connection, settings)
    except asyncpg.InsufficientPrivilegeError as error:
        return Finding(name, "warn", f"could not be asked: {error}", "ask as the owner of the schema, with pg_monitor")
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError, asyncpg.UndefinedFunctionError) as error:
        return Finding(name, "fail", f"could not be asked: {error}", "run python -m sql migrate")
    except (asyncpg.QueryCanceledError, asyncpg.LockNotAvailableError) as error:
        return Finding(
            name, "warn", f"no answer in time: {error}", "see what keeps the server busy: transactions, slow_statements"
        )
    except asyncpg.PostgresError as error:
        return Finding(name, "warn", f"could not be asked: {error}", "report it with this message")


async def _all(rows: Any) -> list[Any]:
    return [row async for row in rows]


async def _durability(connection: Connection, _: DoctorSettings) -> Finding:
    return findings.durability(await queries.ask_durability(connection))


async def _cache(connection: Connection, _: DoctorSettings) -> Finding:
    return findings.cache(await queries.ask_cache(connection))


async def _indexes(connection: Connection, _: DoctorSettings) -> Finding:
    return findings.indexes(
        await _all(queries.ask_unused_indexes(connection)),
        await _all(queries.ask_missing_indexes(connection)),
        await _all(queries.ask_invalid_indexes(connection)),
    )


async def _slow_statements(connection: Connection, _: DoctorSettings) -> Finding:
    known = await queries.ask_statements_known(connection)
    rows = await _all(queries.ask_slow_statements(connection)) if known["installed"] else []
    return findings.slow_statements(known, rows)


async def _live_tables(connection: Connection, _: DoctorSettings) -> Finding:
    return findings.live_tables(await _all(queries.ask_live_tables(connection)))


async def _statistics(connection: Connection, _: DoctorSettings) -> Finding:
    return findings.statistics(await _all(queries.ask_statistics(connection)))


async def _partitions(connection: Connection, settings: DoctorSettings) -> Finding:
    rows = await _all(queries.ask_months(connection))
    return standing.partitions(rows, datetime.now(UTC), settings.retention_days)


async def _replication(connection: Connection, _: DoctorSettings) -> Finding:
    if (await queries.ask_server(connection))["standby"]:
        return findings.replication([], [], (await queries.ask_standby(connection))["seconds"] or 0)
    replicas, slots = await _all(queries.ask_replicas(connection)), await _all(queries.ask_slots(connection))
    return findings.replication(replicas, slots, None)


async def _ledger(connection: Connection, settings: DoctorSettings) -> Finding:
    """With the rows where they are counted before the session's time-out ends."""
    try:
        return await _whole_ledger(connection, settings, "10s")
    except asyncpg.QueryCanceledError:
        return standing.ledger(await _all(queries.ask_sums(connection)), None)


async def _whole_ledger(connection: Connection, settings: DoctorSettings, within: str = COUNTING) -> Finding:
    sums = await _all(queries.ask_sums(connection))
    async with connection.transaction():
        await connection.fetchval("SELECT set_config('statement_timeout', $1, true)", within)
        rows = await _all(
            queries.ledger(
                connection,
                meter_topic=settings.kafka_meter_topic,
                vehicle_topic=settings.kafka_vehicle_topic,
                assignment_topic=settings.kafka_assignment_topic,
                register_topic=settings.kafka_register_topic,
            )
        )
    return standing.ledger(sums, rows)


async def _connections(connection: Connection, settings: DoctorSettings) -> Finding:
    return findings.connections(await queries.ask_connections(connection), settings.database_pool_size)


async def _dead_letters(connection: Connection, _: DoctorSettings) -> Finding:
    return standing.dead_letters(await _all(queries.ask_letters(connection)))


async def _topics(connection: Connection, _: DoctorSettings) -> Finding:
    breakers = await _all(queries.ask_breakers(connection))
    return standing.topics(breakers, await _all(queries.ask_standing_partitions(connection)))


async def _transactions(connection: Connection, _: DoctorSettings) -> Finding:
    rows = await _all(
        queries.ask_transactions(connection, idle_seconds=findings.IDLE_SECONDS, busy_seconds=findings.BUSY_SECONDS)
    )
    return findings.transactions(rows, (await queries.ask_prepared(connection))["prepared"])


async def _wraparound(connection: Connection, _: DoctorSettings) -> Finding:
    return findings.wraparound(await queries.ask_wraparound(connection))


async def _maintenance(connection: Connection, settings: DoctorSettings) -> Finding:
    seconds = (await queries.ask_maintenance(connection))["seconds"]
    failed = await _all(queries.ask_tasks(connection))
    return standing.maintenance(seconds, failed, settings.maintain_interval_seconds)


async def _late_hours(connection: Connection, _: DoctorSettings) -> Finding:
    return standing.late_hours(await queries.ask_late_hours(connection))


async def _alerts(connection: Connection, _: DoctorSettings) -> Finding:
    return standing.alerts(await queries.ask_outbox(connection))


CHECKS: Final[dict[str, Check]] = {
    "durability": _durability,
    "ledger": _ledger,
    "topics": _topics,
    "dead_letters": _dead_letters,
    "partitions": _partitions,
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
