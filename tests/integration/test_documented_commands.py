"""What documents mark as ```sh run is typed here, all of a document in order, as a reader would: on a real Kafka and PostgreSQL.

Addresses of the API are those of the document with a free port instead of 3000; servers and topics come from the environment.
"""

import os
import sys
from pathlib import Path

import pytest

from deploy.stack.ports import free_port
from deploy.stack.processes import Processes, end_of
from tests.documents import documents, fences
from tests.servers import Database, Topics, ledger
from tests.waiting import until

ROOT = Path(__file__).parents[2]
WITH_COMMANDS = [name for name in documents() if any(fence.runs and not fence.reason for fence in fences(name))]


def script(document: str, port: int) -> str:
    """All commands of a document that are to be run; what it left in the background is ended when the script ends."""
    parts = [fence.text for fence in fences(document) if fence.runs and not fence.reason]
    text = (
        "\n".join(parts).replace("127.0.0.1:3000", f"127.0.0.1:{port}").replace("localhost:3000", f"127.0.0.1:{port}")
    )
    return f"set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n{text}\n"


def test_some_document_has_commands_to_run() -> None:
    assert "docs/getting-started.md" in WITH_COMMANDS


@pytest.mark.parametrize("document", WITH_COMMANDS)
@pytest.mark.anyio
async def test_commands_work_as_written(
    database: Database, topics: Topics, environment: dict[str, str], processes: Processes, tmp_path: Path, document: str
) -> None:
    port, log = free_port(), tmp_path / "script.log"
    typed = environment | {
        "DATABASE_URL": database.migrator_url,
        "DATABASE_READ_URL": "",
        "API_PORT": str(port),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    process = processes.start(["bash", "-c", script(document, port)], log=log, env=typed, cwd=tmp_path)

    async def ended() -> bool:
        return process.poll() is not None

    await until(ended, f"the commands of {document} have ended; so far:\n{end_of(log, 40)}", timeout=200)
    assert process.returncode == 0, f"{document}:\n{end_of(log, 60)}"
    assert "Traceback" not in log.read_text()
    await ledger(database, topics)
