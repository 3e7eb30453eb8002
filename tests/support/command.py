"""Command lines as an operator types them: `python -m consumer ...`, `python -m sql ...`."""

import asyncio
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.database import Database
from tests.support.repository import ROOT


@dataclass(frozen=True, slots=True)
class Command:
    """Runs `python -m <module> ...` in an environment; `settings` of a single run override it."""

    module: str
    environment: dict[str, str]

    async def start(self, *arguments: str, **settings: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", self.module, *arguments, env=self.environment | settings, cwd=ROOT,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    async def run(self, *arguments: str, stdin: str = "", **settings: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of a run that must not end in a traceback."""
        process = await self.start(*arguments, **settings)
        stdout, stderr = await process.communicate(stdin.encode())
        assert b"Traceback" not in stderr, stderr.decode()
        return process.returncode or 0, stdout.decode(), stderr.decode()

    async def succeed(self, *arguments: str, stdin: str = "", **settings: str) -> tuple[str, str]:
        """stdout and stderr of a run that must exit with code 0."""
        code, stdout, stderr = await self.run(*arguments, stdin=stdin, **settings)
        assert code == 0, stdout + stderr
        return stdout, stderr

    async def fail(self, *arguments: str, stdin: str = "", **settings: str) -> str:
        """stderr of a run that must exit with code 1."""
        code, _, stderr = await self.run(*arguments, stdin=stdin, **settings)
        assert code == 1, stderr
        return stderr


def consumer_command(environment: dict[str, str], database: Database) -> Command:
    """`python -m consumer ...` as the owner of the schema."""
    return Command("consumer", environment | {"DATABASE_URL": database.migrator_url})


def sql_command(environment: dict[str, str], database: Database, archive: Path | None = None) -> Command:
    """`python -m sql ...` as the owner of the schema, with a directory for archives where given."""
    archiving = {"ARCHIVE_DIRECTORY": str(archive)} if archive else {}
    return Command("sql", environment | {"DATABASE_URL": database.migrator_url} | archiving)


async def partition_statuses(consumer: Command) -> list[dict[str, Any]]:
    """The lines of `python -m consumer offsets show --json`."""
    stdout, _ = await consumer.succeed("offsets", "show", "--json")
    return [json.loads(line) for line in stdout.splitlines()]
