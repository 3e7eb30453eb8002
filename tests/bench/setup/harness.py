"""Servers, databases and directories that every measure runs on."""

import asyncio
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
from pydantic import SecretStr

from deploy.stack.servers import Servers
from sql.migrate import migrate
from sql.settings import SqlSettings
from tests.support.database import Database, new_database


@contextmanager
def migrated_template(stack: Servers) -> Iterator[Database]:
    """A migrated, empty database to copy."""
    with new_database(stack, f"energy_bench_template_{os.getpid()}") as template:
        asyncio.run(migrate(SqlSettings(database_url=SecretStr(template.migrator_url))))
        yield template


@dataclass(frozen=True, slots=True)
class Harness:
    """What every measure gets: `runs` is how often to measure, `scale` the share of the full amount of work."""

    stack: Servers
    template: Database
    directory: Path
    runs: int
    log_progress: Callable[[str], None]
    scale: float = 1.0
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def scaled(self, full: int, minimum: int = 1) -> int:
        """The share of `full` that this run is to do."""
        return max(minimum, round(full * self.scale))

    def new_directory(self, name: str) -> Path:
        """A directory for the logs and files of one run."""
        directory = self.directory / f"{name}-{next(self._numbers)}"
        directory.mkdir()
        return directory

    @contextmanager
    def empty_database(self) -> Iterator[Database]:
        """A migrated database without readings, dropped at the end of the block."""
        with new_database(self.stack, self._new_name(), self.template) as database:
            yield database

    @contextmanager
    def copy_of(self, original: Database) -> Iterator[Database]:
        """A copy of `original`, made file by file so that gigabytes of rows write no WAL."""
        copy = Database(self._new_name(), self.stack)
        asyncio.run(self._administer(f"CREATE DATABASE {copy.name} TEMPLATE {original.name} STRATEGY FILE_COPY"))
        try:
            yield copy
        finally:
            asyncio.run(self._administer(f"DROP DATABASE {copy.name} WITH (FORCE)"))

    def _new_name(self) -> str:
        return f"energy_bench_{os.getpid()}_{next(self._numbers)}"

    async def _administer(self, statement: str) -> None:
        connection = await asyncpg.connect(self.stack.database_url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()
