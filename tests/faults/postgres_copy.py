"""A PostgreSQL for one scenario: a copy of the run's server, which the scenario may replicate, lose and restore."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg

from deploy.stack.ports import free_port
from deploy.stack.postgres import Postgres
from deploy.stack.resolve import clear
from deploy.stack.servers import Servers
from tests.support.waiting import until

DIRECTORY: Final = "copied-postgres"
PRIMARY: Final = "target_session_attrs=primary"
ARCHIVE: Final = "archive"  # beside the data directory
# The relative path starts at the data directory; a segment is in the archive when it has its final name.
ARCHIVING: Final = MappingProxyType(
    {
        "archive_mode": "on",
        "archive_command": f"mkdir -p ../{ARCHIVE} && cp %p ../{ARCHIVE}/%f.part && mv ../{ARCHIVE}/%f.part ../{ARCHIVE}/%f",
    }
)
IS_PRIMARY: Final = "SELECT NOT pg_is_in_recovery()"


@contextmanager
def copied_postgres(stack: Servers, *, members: int) -> Iterator[Servers]:
    """The same Kafka with a PostgreSQL of its own; must be entered outside of an event loop.

    Its addresses name `members` servers, of which the first one is running and the others can be made by new_member(). Clients
    use the first of them that is a primary, as with any cluster of PostgreSQL servers.
    """
    assert stack.postgres is not None, "this scenario copies the server, so it must be one of our own"
    directory, ports = stack.directory / DIRECTORY, [free_port() for _ in range(members)]
    clear(directory)
    copy = stack.postgres.standby(directory / "0", ARCHIVING, ports[0])
    try:
        copy.start()
        asyncio.run(promote(copy))
        yield addressed(stack, copy, ports)
    finally:
        copy.kill()
        clear(directory)


def addressed(stack: Servers, primary: Postgres, ports: Sequence[int]) -> Servers:
    """The same Kafka with this primary, and addresses that name the servers at these ports."""
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    urls = [f"{_login(primary, login)}@{hosts}/energy?{PRIMARY}" for login in ("migrator", "writer", "reader")]
    return replace(stack, postgres=primary, database_url=urls[0], writer_url=urls[1], reader_url=urls[2])


def ports_of(stack: Servers) -> list[int]:
    """The ports of all members."""
    hosts = urlsplit(stack.database_url).netloc.rpartition("@")[2]
    return [int(host.rpartition(":")[2]) for host in hosts.split(",")]


def new_member(stack: Servers, number: int) -> Postgres:
    """A base backup of the primary for the member with this number, not started. It becomes a standby when it is started."""
    assert stack.postgres is not None
    return stack.postgres.standby(stack.directory / DIRECTORY / str(number), port=ports_of(stack)[number])


def _login(server: Postgres, login: str) -> str:
    return server.url(login).rpartition("@")[0]


async def promote(standby: Postgres) -> None:
    """Make a standby the primary of a new timeline."""
    assert await query(standby, "SELECT pg_promote()"), "the standby is promoted"


async def until_promoted(server: Postgres) -> None:
    """Wait until a server has ended its recovery."""
    await until(lambda: query(server, IS_PRIMARY), "the server has ended its recovery")


async def stop_replication(standby: Postgres) -> None:
    """Cut a standby off from its primary: it receives nothing more, and can still be promoted."""
    await query(standby, "ALTER SYSTEM SET primary_conninfo = ''")
    await query(standby, "SELECT pg_reload_conf()")

    async def is_cut_off() -> bool:
        return not await query(standby, "SELECT count(*) FROM pg_stat_wal_receiver")

    await until(is_cut_off, "the standby receives no WAL")


async def until_replayed(primary: Postgres, standby: Postgres) -> None:
    """Wait until a standby has replayed all WAL that its primary has written so far."""
    end = await query(primary, "SELECT pg_current_wal_lsn()")

    async def is_replayed() -> bool:
        return bool(await query(standby, "SELECT pg_last_wal_replay_lsn() >= $1", end))

    await until(is_replayed, "the standby has replayed the primary's WAL")


async def until_archived(server: Postgres) -> None:
    """Wait until all WAL that a server has written so far is in its archive."""
    segment = await query(server, "SELECT pg_walfile_name(pg_switch_wal())")

    async def is_archived() -> bool:
        return bool(await query(server, "SELECT last_archived_wal >= $1 FROM pg_stat_archiver", segment))

    await until(is_archived, f"{segment} is archived")


def recover_until(base: Postgres, source: Postgres, instant: str) -> None:
    """Prepare a base backup, not yet started, to be restored from the archive of `source` up to an instant."""
    data: Path = base._directory / "data"
    (data / "standby.signal").unlink()
    (data / "recovery.signal").touch()
    archive = source._directory / ARCHIVE
    with (data / "postgresql.auto.conf").open("a") as settings:
        settings.write(
            "primary_conninfo = ''\n"
            f"restore_command = 'cp {archive}/%f %p'\n"
            f"recovery_target_time = '{instant}'\n"
            "recovery_target_action = 'promote'\n"
        )


async def query(server: Postgres, statement: str, *arguments: Any) -> Any:
    """The first value that a statement returns, run by the superuser."""
    connection = await asyncpg.connect(server.url("postgres", "postgres"))
    try:
        return await connection.fetchval(statement, *arguments)
    finally:
        await connection.close()
