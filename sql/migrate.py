"""Schema migration: connect -> dbmate migrate -> create partitions."""

import asyncio
import os
import shutil
import ssl
import sys
import sysconfig
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

import asyncpg
import stamina
import structlog

from sql import connection as database
from sql.partitions import begin_folding, ensure_partitions
from sql.queries import queries
from sql.settings import SqlSettings

log = structlog.get_logger(__name__)

MIGRATIONS: Final = Path(__file__).parent / "migrations"
CONCURRENT_RUN_CHECK_SECONDS: Final = 0.5
LOCK_TIMEOUT: Final = "(55P03)"  # the SQLSTATE at the end of dbmate's message; the message may be in any language
# The environment of dbmate: no secrets but the database URL. Variables of libpq (PG...) are passed on as well.
DBMATE_ENVIRONMENT: Final = frozenset(
    {"APPDATA", "HOME", "PATH", "SSL_CERT_DIR", "SSL_CERT_FILE", "SYSTEMROOT", "TZ", "USERPROFILE"}
)
DBMATE_URL_HAS: Final = ("PGHOST", "PGPORT", "PGTARGETSESSIONATTRS")
SESSION: Final = {"application_name": "energy-sql"}


class MigrationError(Exception):
    """A migration failed; the message is dbmate's. Migrations before it stay applied."""


class LockTimeoutError(MigrationError):
    """A migration did not get a lock within MIGRATE_LOCK_TIMEOUT_MS; nothing of it was applied."""


async def migrate(settings: SqlSettings, migrations: Path = MIGRATIONS) -> None:
    """Apply pending migrations and create missing partitions. Safe to run concurrently: the second run waits for the first.

    A migration waits for a lock no longer than MIGRATE_LOCK_TIMEOUT_MS, because writers queue behind it meanwhile. Then it gives
    way and is retried, until MIGRATE_GIVE_UP_SECONDS have passed. Invalid indexes of failed attempts are dropped first.

    Raises:
        MigrationError: a migration failed. Each runs in its own transaction, so the schema is that of the last successful one.
    """
    connection = await connect(settings)
    try:
        await _wait_for_concurrent_run(connection)
        url = await _dbmate_url(connection, settings)
        async for attempt in stamina.retry_context(
            on=LockTimeoutError,
            attempts=None,
            timeout=settings.migrate_give_up_seconds,
            wait_initial=1.0,
            wait_max=10.0,
        ):
            with attempt:
                try:
                    await _drop_invalid_indexes(connection, settings.migrate_lock_timeout_ms)
                    await _run_dbmate(url, migrations)
                except LockTimeoutError:
                    await _log_lock_timeout(connection, attempt.num)
                    raise
        now = await queries.database_clock(connection)
        # Maintenance does this to a database with readings: it is replaced after the consumers, and those of the version before
        # cannot write once folding has begun.
        await begin_folding(connection, now, settings.fold_after_days, only_if_empty=True)
        await ensure_partitions(connection, now, settings.retention_days)
        await _warn_of_public_privileges(connection)
    finally:
        await connection.close()


async def _wait_for_concurrent_run(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    while not (await queries.lock_migrations(connection))["acquired"]:  # noqa: ASYNC110 - another process has it
        await asyncio.sleep(CONCURRENT_RUN_CHECK_SECONDS)


async def _drop_invalid_indexes(connection: "asyncpg.Connection[asyncpg.Record]", lock_timeout_ms: int) -> None:
    """Drop the invalid indexes of interrupted CREATE INDEX CONCURRENTLY statements, which would occupy the names."""
    await connection.execute(f"SET lock_timeout = {lock_timeout_ms}")
    try:
        async for row in queries.invalid_indexes(connection):
            await connection.execute(f'DROP INDEX CONCURRENTLY IF EXISTS "{row["index_name"]}"')
            log.info("invalid_index_dropped", index=row["index_name"])
    except asyncpg.LockNotAvailableError as error:
        raise LockTimeoutError(str(error)) from error
    finally:
        await connection.execute("RESET lock_timeout")


async def _warn_of_public_privileges(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Only the owner of the database can revoke TEMPORARY, and a copy of the database does not inherit the revocation."""
    if (await queries.public_privileges(connection))["temporary_tables"]:
        log.warning(
            "public_has_temporary_privilege",
            hint="the owner of the database should run: REVOKE TEMPORARY ON DATABASE ... FROM PUBLIC",
        )


def _is_transient(error: Exception) -> bool:
    """TLS errors are not: a certificate that is not trusted now will not be trusted in a minute."""
    unavailable = (OSError, asyncpg.CannotConnectNowError, asyncpg.TooManyConnectionsError)
    return isinstance(error, unavailable) and not isinstance(error, ssl.SSLError)


@stamina.retry(on=_is_transient, attempts=None, timeout=None)
async def connect(settings: SqlSettings) -> "asyncpg.Connection[asyncpg.Record]":
    """A connection for a command; retries until the database accepts it, and logs each retry."""
    return await database.connect(settings.database_url, server_settings=SESSION)


async def _log_lock_timeout(connection: "asyncpg.Connection[asyncpg.Record]", attempt: int) -> None:
    oldest = await queries.oldest_transaction(connection)
    log.warning("migration_lock_timeout", attempt=attempt, **(oldest or {}))


async def _run_dbmate(url: str, migrations: Path) -> None:
    command = [_dbmate_binary(), "--migrations-dir", str(migrations), "--no-dump-schema", "migrate"]
    process = await asyncio.create_subprocess_exec(
        *command,
        env=_dbmate_environment() | {"DATABASE_URL": url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output = (await process.communicate())[0].decode(errors="replace").strip()
    finally:
        if process.returncode is None:  # this command is being stopped
            process.kill()
    if process.returncode:
        raise (LockTimeoutError if LOCK_TIMEOUT in output else MigrationError)(output)
    for line in output.splitlines():
        if line.startswith("Applying:"):
            log.info("migration_applied", migration=line.removeprefix("Applying:").strip())


def _dbmate_environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if (name.startswith("PG") and name not in DBMATE_URL_HAS) or name.upper() in DBMATE_ENVIRONMENT
    }


def _dbmate_binary() -> str:
    script = Path(sysconfig.get_path("scripts")) / ("dbmate.exe" if sys.platform == "win32" else "dbmate")
    found = str(script) if script.exists() else shutil.which("dbmate")
    if found is None:
        raise MigrationError(
            "dbmate is not installed: pip install 'energy-ingestion-engine[migrate]', "
            "or the image of `docker build --target full`"
        )
    return found


async def _dbmate_url(connection: "asyncpg.Connection[asyncpg.Record]", settings: SqlSettings) -> str:
    """DATABASE_URL with the server of a connection as its only host: dbmate's driver selects none of several."""
    encrypted = await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    parts = urlsplit(settings.database_url.get_secret_value())
    query = {name: values[-1] for name, values in parse_qs(parts.query).items() if name != "target_session_attrs"}
    # dbmate's driver requires TLS by default, asyncpg uses what the server offers: pass on what asyncpg has negotiated.
    query.setdefault("sslmode", "require" if encrypted else "disable")
    # dbmate's driver passes parameters it does not know to the server as session settings.
    query |= database.SESSION | SESSION | {"lock_timeout": str(settings.migrate_lock_timeout_ms)}
    address = await database.address_of(connection)
    netloc = parts.netloc
    if not isinstance(address, str):
        host, port = address
        login, at, _ = netloc.rpartition("@")
        netloc = f"{login}{at}[{host}]:{port}" if ":" in host else f"{login}{at}{host}:{port}"
        query = {name: value for name, value in query.items() if name not in ("host", "port")}
    return urlunsplit(parts._replace(netloc=netloc, query=urlencode(query)))
