"""What every measure stands on: the servers, databases and topics of its own, results and their medians."""

import asyncio
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Literal

import asyncpg
import msgspec
from pydantic import SecretStr

from deploy.stack.servers import Servers
from sql.migrate import migrate
from sql.settings import SqlSettings
from tests.support.database import Database, new_database


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One figure. `ratio` compares it with another of the same run, `details` says what else was seen."""

    measure: str
    value: float
    unit: str
    ratio: float | None = None
    run: int | Literal["median"] = "median"
    details: dict[str, float] = msgspec.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ground:
    """`runs` is how often to measure, `scale` the share of the full amount of work, `say` tells a person what goes on."""

    stack: Servers
    template: Database
    directory: Path
    runs: int
    say: Callable[[str], None]
    scale: float = 1.0
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @classmethod
    @contextmanager
    def on(
        cls, stack: Servers, directory: Path, runs: int, say: Callable[[str], None], scale: float = 1.0
    ) -> Iterator["Ground"]:
        """The ground on these servers; databases and topics of other runs do not disturb it."""
        with new_database(stack, f"energy_bench_template_{os.getpid()}") as template:
            asyncio.run(migrate(SqlSettings(database_url=SecretStr(template.migrator_url))))
            yield cls(stack, template, directory, runs, say, scale)

    def scaled(self, full: int, least: int = 1) -> int:
        """So much of `full` as this run is to do."""
        return max(least, round(full * self.scale))

    def new_directory(self, name: str) -> Path:
        """For the logs of one run of something."""
        directory = self.directory / f"{name}-{next(self._numbers)}"
        directory.mkdir()
        return directory

    @contextmanager
    def database(self) -> Iterator[Database]:
        """A migrated, empty database."""
        with new_database(self.stack, self._name(), self.template) as made:
            yield made

    @contextmanager
    def copy_of(self, original: Database) -> Iterator[Database]:
        """A database with all that `original` holds, copied file by file: no WAL is written for gigabytes."""
        made = Database(self._name(), self.stack)
        asyncio.run(self._administer(f"CREATE DATABASE {made.name} TEMPLATE {original.name} STRATEGY FILE_COPY"))
        try:
            yield made
        finally:
            asyncio.run(self._administer(f"DROP DATABASE {made.name} WITH (FORCE)"))

    def _name(self) -> str:
        return f"energy_bench_{os.getpid()}_{next(self._numbers)}"

    async def _administer(self, statement: str) -> None:
        connection = await asyncpg.connect(self.stack.database_url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


def with_medians(results: Iterable[Result]) -> Iterator[Result]:
    """All results as they come, then for each measure the median of its values, ratios and details."""
    seen: dict[str, list[Result]] = {}
    for result in results:
        seen.setdefault(result.measure, []).append(result)
        yield result
    for of_one in seen.values():
        ratios = [each.ratio for each in of_one if each.ratio is not None]
        yield msgspec.structs.replace(
            of_one[-1],
            run="median",
            value=_median([each.value for each in of_one]),
            ratio=_median(ratios) if ratios else None,
            details={name: _median([each.details[name] for each in of_one]) for name in of_one[-1].details}
            | {
                "lowest": min(each.value for each in of_one),
                "highest": max(each.value for each in of_one),
                "runs": len(of_one),
            }
            | ({"lowest_ratio": min(ratios), "highest_ratio": max(ratios)} if ratios else {}),
        )


def _median(values: Sequence[float]) -> float:
    return round(median(values), 4)
