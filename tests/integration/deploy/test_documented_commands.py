"""The commands that documents mark as ```sh run, executed in order on a real Kafka and PostgreSQL, as by a reader.

Servers and topics come from the environment, and a free port replaces port 3000 of the API. What a document presupposes is
provided: an API that it does not start itself, a schema registry, a CSV file called FILE, the documents, and archived months.
"""

import os
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from deploy.stack.ports import free_port
from deploy.stack.processes import Processes, end_of
from deploy.stack.topics import create_topics
from tests.support.command import Command, sql_command
from tests.support.database import Database
from tests.support.expired_months import fill_histories
from tests.support.formats.registry import schema_registry
from tests.support.ledger import Topics, ledger
from tests.support.repository import ROOT
from tests.support.repository.documents import documents, fences
from tests.support.services import read_service
from tests.support.waiting import until

WITH_COMMANDS = [name for name in documents() if any(fence.runs and not fence.reason for fence in fences(name))]


def text_of(document: str) -> str:
    """All executable commands of a document."""
    return "\n".join(fence.text for fence in fences(document) if fence.runs and not fence.reason)


def script(text: str, port: int) -> str:
    """A shell script of the commands. Background jobs must still be running at the end, and are stopped then."""
    commands = text.replace("127.0.0.1:3000", f"127.0.0.1:{port}").replace("localhost:3000", f"127.0.0.1:{port}")
    running = "for each in $(jobs -p); do kill -0 $each; done"
    return f"set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n{commands}\n{running}\n"


def operators_environment(
    environment: dict[str, str], database: Database, directory: Path, text: str
) -> dict[str, str]:
    """The environment of an operator who executes the commands in a directory."""
    keys = {"API_KEYS_FILE": str(directory / "keys.json")} if "api keys" in text else {}
    return (
        environment
        | {
            "DATABASE_URL": database.migrator_url,
            "DATABASE_READ_URL": "",
            "API_OPEN": "false",
            "ARCHIVE_DIRECTORY": str(directory / "archive"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        }
        | keys
    )


def test_the_main_documents_have_executable_commands() -> None:
    assert {"README.md", "docs/formats.md", "docs/getting-started.md", "docs/operations.md", "docs/security.md"} <= set(
        WITH_COMMANDS
    )


@pytest.mark.parametrize("document", WITH_COMMANDS)
@pytest.mark.anyio
async def test_documented_commands_work(
    database: Database, topics: Topics, environment: dict[str, str], processes: Processes, tmp_path: Path, document: str
) -> None:
    text, port, log = text_of(document), free_port(), tmp_path / "script.log"
    (tmp_path / "FILE").write_text("vehicle_id,meter_id,valid_from,valid_to\nVEH-1,METER-1,2026-01-01T00:00:00Z,\n")
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    settings = operators_environment(environment, database, tmp_path, text)
    operator = Command("consumer", settings)

    async def group_coordinator_exists() -> bool:
        return (await operator.run("offsets", "show"))[0] == 0

    # a new broker creates the coordinator of consumer groups on the first request for it
    await until(group_coordinator_exists, "Kafka has a coordinator of consumer groups")
    with ExitStack() as exits:
        if "sql archive" in text:
            await fill_histories(database, minutes=10)
            await sql_command(environment, database, tmp_path / "archive").succeed("maintain", "--once")
        if "SCHEMA_REGISTRY_URL" in text:
            settings["SCHEMA_REGISTRY_URL"] = exits.enter_context(schema_registry()).url
            await create_topics(environment["KAFKA_BOOTSTRAP_SERVERS"], [topics.assignment], partitions=1)
        if "3000" in text and "-m api &" not in text:
            port = exits.enter_context(read_service(processes, environment, tmp_path)).base_url.port or 0
        process = processes.start(
            ["bash", "-c", script(text, port)], log=log, env=settings | {"API_PORT": str(port)}, cwd=tmp_path
        )

        async def exited() -> bool:
            return process.poll() is not None

        await until(exited, f"the commands of {document} have exited; so far:\n{end_of(log, 40)}", timeout=200)
        assert process.returncode == 0, f"{document}:\n{end_of(log, 60)}"
        assert "Traceback" not in log.read_text()
    await ledger(database, topics)
