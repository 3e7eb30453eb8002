"""Connections with bounded waits: session settings and timeouts that keep a stuck connection from blocking others.

Every session of the engine is opened here, by `connect` or from a `pool`, and sets what its statements rely on (SESSION).
"""

import asyncio
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import asyncpg
from pydantic import SecretStr

from sql.slow_statements import log_slow_statements

# What the statements rely on. A session would otherwise inherit it from the server, the database or its login (ALTER DATABASE or
# ALTER ROLE ... SET). docs/postgresql.md lists what is inherited on purpose.
SESSION: Final = {
    "search_path": "public",
    "default_transaction_isolation": "read committed",  # after a wait for a lock, the next statement must see what was committed
    "synchronous_commit": "on",
    "timezone": "UTC",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "extra_float_digits": "1",  # archives are copied as text: below 1 it would be rounded
    "bytea_output": "hex",
    "standard_conforming_strings": "on",
    "row_security": "on",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_session_timeout": "0",
    "jit": "off",
}
# A consumer that stops in the middle of a transaction (SIGSTOP, a frozen machine) holds the claim on its partitions. The server
# ends such a session where it can (idle_in_transaction_session_timeout); the consumer that takes over the partitions ends others.
WRITER_SETTINGS: Final = SESSION | {
    "application_name": "energy-consumer",
    "idle_in_transaction_session_timeout": "10s",
    "lock_timeout": "10s",
    "statement_timeout": "60s",
}
READ_ONLY: Final = {"default_transaction_read_only": "on"}
# Planning the energy of all levels takes longer than executing it; the tests of the plans execute both kinds.
READER_SETTINGS: Final = SESSION | READ_ONLY | {
    "plan_cache_mode": "force_generic_plan",
    "application_name": "energy-api",
    "statement_timeout": "5s",
    "client_connection_check_interval": "1s",  # ends the statement of a client that has disconnected
}  # fmt: skip
PROBE_SETTINGS: Final = {**READER_SETTINGS, "application_name": "energy-api-probe", "statement_timeout": "2s"}
# Errors of an unreachable database. InternalClientError: the server has ended a session while it was idle.
CONNECTION_ERRORS: Final = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
DATABASE_ERRORS: Final = (asyncpg.PostgresError, *CONNECTION_ERRORS)
_POOLER: Final = (
    "the URL leads to a connection pooler, which keeps neither settings nor locks of a session; use the URL of the server. "
    "Only the read service can use a pooler, with DATABASE_POOLER (docs/postgresql.md, PgBouncer)"
)
# The driver takes a session that asks for default_transaction_read_only to be one on a standby.
_READ_ONLY_TARGETS: Final = {"read-write": "primary", "read-only": "standby"}


async def connect(
    url: SecretStr, *, server_settings: dict[str, str], command_timeout: float | None = None, timeout: float = 10
) -> "asyncpg.Connection[asyncpg.Record]":
    """A connection for a command or a task.

    Args:
        url: of the database, of one host or several; secret, because it may contain a password.
        server_settings: of the session, in addition to SESSION.
        command_timeout: seconds after which a silent server is treated as gone; None: never.
        timeout: seconds for connecting to one host.

    Raises:
        asyncpg.ReadOnlySQLTransactionError: a session that writes has met a server that does not allow it. The message names it.
    """
    opened: asyncpg.Connection[asyncpg.Record] = await _open(
        url.get_secret_value(), server_settings=server_settings, command_timeout=command_timeout, timeout=timeout
    )
    return opened


def pool(
    url: SecretStr,
    *,
    size: int,
    server_settings: dict[str, str],
    command_timeout: float,
    slower_than_ms: int | None = None,
    **options: Any,
) -> "asyncpg.Pool[asyncpg.Record]":
    """A pool that connects on first use, so that a process can start before its database. Its connections are those of `connect`.

    Args:
        url: of the database, of one host or several; secret, because it may contain a password.
        size: maximum number of connections.
        server_settings: of each session, in addition to SESSION.
        command_timeout: seconds after which a silent server is treated as gone.
        slower_than_ms: log statements that take longer; None: no statement.
        options: further arguments of asyncpg.create_pool.
    """
    return asyncpg.create_pool(
        url.get_secret_value(),
        min_size=0,
        max_size=size,
        server_settings=server_settings,
        command_timeout=command_timeout,
        timeout=5,
        connect=_open,
        init=partial(_initialize, slower_than_ms=slower_than_ms),
        **options,
    )


def pooler_pool(
    url: SecretStr,
    *,
    size: int,
    application_name: str,
    command_timeout: float,
    slower_than_ms: int | None = None,
    prepared: bool = False,
) -> "asyncpg.Pool[asyncpg.Record]":
    """As `pool`, for a URL of a pooler in transaction mode, such as PgBouncer. A session sets nothing: its transactions must.

    Args:
        url: as for `pool`.
        size: as for `pool`.
        application_name: of the sessions.
        command_timeout: as for `pool`.
        slower_than_ms: as for `pool`.
        prepared: keep prepared statements; the pooler must carry them over to the server connections that it chooses.
    """
    return asyncpg.create_pool(
        url.get_secret_value(),
        min_size=0,
        max_size=size,
        server_settings={"application_name": application_name},
        command_timeout=command_timeout,
        timeout=5,
        init=partial(_initialize, slower_than_ms=slower_than_ms),
        reset=keep_session,
        statement_cache_size=100 if prepared else 0,
    )


async def address_of(connection: Any) -> tuple[str, int] | str:
    """The host and port of the server that a connection was made to, or the path of its Unix socket."""
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    with connection.query_logger(answer.set_result):  # the driver tells the address to loggers alone
        await connection.execute("SELECT")
    address: tuple[str, int] | str = (await answer).conn_addr
    return address


async def _open(dsn: str | None = None, **options: Any) -> Any:
    settings = options["server_settings"] = SESSION | options["server_settings"]
    reads = READ_ONLY.items() <= settings.items()
    if reads:
        (target,) = parse_qs(urlsplit(dsn or "").query).get("target_session_attrs", [None])[-1:]
        options["target_session_attrs"] = _READ_ONLY_TARGETS.get(target or "", target)
    try:
        connection = await asyncpg.connect(dsn, **options)
    except asyncpg.ProtocolViolationError as error:
        raise (
            asyncpg.ProtocolViolationError(f"{error}: {_POOLER}") if "startup parameter" in str(error) else error
        ) from None
    try:
        await _require_server(connection)
        if not reads:
            await _require_writable(connection)
    except BaseException:
        connection.terminate()
        raise
    return connection


async def _require_server(connection: Any) -> None:
    """A pooler that ignores settings of a session, instead of rejecting them, is recognised by its process ids."""
    try:  # one message, because a pooler may divide a prepared statement from its execution
        await connection.execute(f"SELECT 1 / (pg_backend_pid() = {connection.get_server_pid()})::integer")
    except asyncpg.DivisionByZeroError:
        raise asyncpg.ProtocolViolationError(_POOLER) from None


async def _require_writable(connection: Any) -> None:
    reported = connection.get_settings()
    if getattr(reported, "in_hot_standby", "off") == "on":
        why = "is a standby; where the URL has several hosts, target_session_attrs=primary selects the primary"
    elif getattr(reported, "default_transaction_read_only", "off") == "on":
        why = "is read-only: default_transaction_read_only is on for the server, the database or the login"
    else:
        return
    address = await address_of(connection)
    server = address if isinstance(address, str) else "{}:{}".format(*address)
    raise asyncpg.ReadOnlySQLTransactionError(f"the server {server} {why}")


async def keep_session(_: Any) -> None:
    """The `reset` of a pool whose statements leave nothing in a session: a connection is released without a round trip."""


async def _initialize(connection: Any, slower_than_ms: int | None) -> None:
    log_slow_statements(connection, slower_than_ms)
