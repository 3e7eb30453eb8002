"""deploy/compose/roles.sh on a server without roles, as the PostgreSQL image runs it on its first start."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr

from deploy.compose.__main__ import LOGINS
from deploy.stack.postgres import BINARIES, Postgres
from deploy.stack.processes import Processes
from deploy.stack.resolve import clear
from sql.migrate import migrate
from sql.settings import SqlSettings
from tests.support.repository import ROOT

ROLES = (*LOGINS, "energy_writer", "energy_reader")


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "server"
    clear(tmp_path / "server")


@pytest.fixture
def bare(directory: Path, processes: Processes) -> Postgres:
    """A server without roles and without the database."""
    server = Postgres(processes, directory / "postgres", None)
    server.start()
    asyncio.run(_drop_roles(server.url("postgres", "postgres")))
    return server


async def _drop_roles(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("DROP DATABASE energy")
        for role in ROLES:
            await connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    finally:
        await connection.close()


def test_the_script_creates_the_roles_the_database_and_its_extension(bare: Postgres, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for login in LOGINS:
        (secrets / f"{login}_password").write_text(f"-_{login}-word")
    host, port = bare.url("postgres").rpartition("@")[2].partition("/")[0].split(":")
    environment = {
        "PATH": f"{BINARIES}:{os.environ['PATH']}",
        "PGHOST": host,
        "PGPORT": port,
        "PGPASSWORD": bare.url("postgres").split(":")[2].partition("@")[0],
        "SECRETS_DIRECTORY": str(secrets),
        "ROLES_SQL": str(ROOT / "deploy/stack/roles.sql"),
    }
    script = ROOT / "deploy/compose/roles.sh"
    done = subprocess.run([str(script)], env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "-word" not in done.stdout + done.stderr

    def url(login: str) -> str:
        return f"postgresql://{login}:-_{login}-word@{host}:{port}/energy"

    asyncio.run(migrate(SqlSettings(database_url=SecretStr(url("migrator")))))
    assert asyncio.run(_value(url("migrator"), "SELECT to_regclass('pg_stat_statements')")) == "pg_stat_statements"
    for login in ("reader", "writer"):
        assert asyncio.run(_value(url(login), "SELECT count(*) FROM meter_telemetry_history")) == 0


async def _value(url: str, query: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()
