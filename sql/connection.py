"""Connection pools with bounded waits: session settings and timeouts that keep a stuck connection from blocking others."""

from functools import partial
from typing import Any, Final

import asyncpg
from pydantic import SecretStr

from sql.slow_statements import log_slow_statements

# A consumer that stops in the middle of a transaction (SIGSTOP, a frozen machine) holds the claim on its partitions. The server
# ends such a session where it can (idle_in_transaction_session_timeout); the consumer that takes over the partitions ends others.
WRITER_SETTINGS: Final = {
    "application_name": "energy-consumer",
    "idle_in_transaction_session_timeout": "10s",
    "lock_timeout": "10s",
    "statement_timeout": "60s",
    "jit": "off",
}
READER_SETTINGS: Final = {
    "application_name": "energy-api",
    "default_transaction_read_only": "on",
    "statement_timeout": "5s",
    "jit": "off",
}
PROBE_SETTINGS: Final = {**READER_SETTINGS, "application_name": "energy-api-probe", "statement_timeout": "2s"}
# Errors of an unreachable database. InternalClientError: the server has ended a session while it was idle.
CONNECTION_ERRORS: Final = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
DATABASE_ERRORS: Final = (asyncpg.PostgresError, *CONNECTION_ERRORS)


def pool(
    url: SecretStr,
    *,
    size: int,
    server_settings: dict[str, str],
    command_timeout: float,
    slower_than_ms: int | None = None,
    **options: Any,
) -> "asyncpg.Pool[asyncpg.Record]":
    """A pool that connects on first use, so that a process can start before its database.

    Args:
        url: of the database; secret, because it may contain a password.
        size: maximum number of connections.
        server_settings: of each session.
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
        init=partial(_initialize, slower_than_ms=slower_than_ms),
        **options,
    )


async def _initialize(connection: Any, slower_than_ms: int | None) -> None:
    log_slow_statements(connection, slower_than_ms)
