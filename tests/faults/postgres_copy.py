"""A PostgreSQL for one scenario: a copy of the run's server, which the scenario may replicate, lose and restore."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg

from deploy.stack.postgres import Postgres
from deploy.stack.resolve import clear
from deploy.stack.servers import Servers
from tests.support.waiting import until

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
def copied_postgres(stack: Servers) -> Iterator[Servers]:
    """The same Kafka with a PostgreSQL of its own, which archives its WAL; must be entered outside of an event loop."""
    assert stack.postgres is not None, "this scenario copies the server, so it must be one of our own"
    directory = stack.directory / "copied-postgres"
    clear(directory)
    copy = stack.postgres.standby(directory / "0", ARCHIVING)
    try:
        copy.start()
        asyncio.run(promote(copy))
        yield moved(stack, copy)
    finally:
        copy.kill()
        clear(directory)


def moved(stack: Servers, postgres: Postgres) -> Servers:
    """The same Kafka with another PostgreSQL."""
    return replace(
        stack,
        database_url=postgres.url("migrator"),
        writer_url=postgres.url("writer"),
        reader_url=postgres.url("reader"),
        postgres=postgres,
    )


def address_of(database: str, *servers: Postgres) -> str:
    """The address of a database for a consumer that writes to the first of these servers that is a primary."""
    urls = [urlsplit(server.url("writer", database)) for server in servers]
    hosts = ",".join(url.netloc.rpartition("@")[2] for url in urls)
    return f"postgresql://{urls[0].username}:{urls[0].password}@{hosts}/{database}?target_session_attrs=primary"


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
