"""How our processes connect: one place for the time-outs that keep a sick connection from holding others up."""

from functools import partial
from typing import Any, Final

import asyncpg
from pydantic import SecretStr

from sql.slow_statements import log_slow_statements

# A consumer that is stopped in the middle of a transaction (SIGSTOP, a frozen machine) holds the claim on its partitions. The
# server ends such a session where it can (idle_in_transaction_session_timeout); whoever takes the partitions over ends the rest.
WRITER_SETTINGS: Final = {
    "application_name": "energy-consumer",
    "idle_in_transaction_session_timeout": "10s",
    "lock_timeout": "10s",
    "statement_timeout": "60s",
    "jit": "off",
}
# What a database that is away, or refuses, can raise. InternalClientError: a session that the server has ended while it was idle.
CONNECTION_FAULTS: Final = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
DATABASE_FAULTS: Final = (asyncpg.PostgresError, *CONNECTION_FAULTS)
READER_SETTINGS: Final = {
    "application_name": "energy-api",
    "default_transaction_read_only": "on",
    "statement_timeout": "5s",
    "jit": "off",
}

PROBE_SETTINGS: Final = {**READER_SETTINGS, "application_name": "energy-api-probe", "statement_timeout": "2s"}


def pool(
    url: SecretStr,
    *,
    size: int,
    server_settings: dict[str, str],
    command_timeout: float,
    slower_than_ms: int | None = None,
    **options: Any,
) -> "asyncpg.Pool[asyncpg.Record]":
    """A pool that connects only when it is first asked, so that a process can start before its database does.

    Args:
        url: of the database; secret, for it may carry a password.
        size: the most connections it opens.
        server_settings: for each session.
        command_timeout: seconds after which a silent server counts as gone.
        slower_than_ms: statements that take longer are logged; None: none.
        options: further arguments of asyncpg.create_pool.
    """
    return asyncpg.create_pool(
        url.get_secret_value(),
        min_size=0,
        max_size=size,
        server_settings=server_settings,
        command_timeout=command_timeout,
        timeout=5,
        init=partial(_prepare, slower_than_ms=slower_than_ms),
        **options,
    )


async def _prepare(connection: Any, slower_than_ms: int | None) -> None:
    log_slow_statements(connection, slower_than_ms)
