"""The processes log slow statements, and never their arguments."""

import json
from pathlib import Path
from typing import Any

import pytest

from deploy.stack.servers import Servers
from tests.support.database import Database
from tests.support.ledger import Topics
from tests.support.records import vehicle
from tests.support.responses import StartApi
from tests.support.services import ConsumerGroup

pytestmark = pytest.mark.anyio


def slow(text: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("event") == "slow_statement"]


async def test_the_read_service_logs_slow_statements_without_arguments(
    start_api: StartApi, write: Any, tmp_path: Path
) -> None:
    await write(vehicle=[vehicle("VEH-SECRET")])
    client = start_api(SQL_LOG_SLOWER_THAN_MS="0")
    assert client.get("/v1/vehicles/VEH-SECRET").status_code == 200
    assert client.get("/v1/vehicles/VEH-SECRET").status_code == 200
    logged = slow((tmp_path / "api.log").read_text())
    assert logged
    named = {line["statement"] for line in logged}
    assert any(name and "vehicle" in name for name in named), named
    assert all(line["milliseconds"] >= 0 for line in logged)
    assert "VEH-SECRET" not in json.dumps(logged)


async def test_nothing_is_logged_by_default(start_api: StartApi, write: Any, tmp_path: Path) -> None:
    await write(vehicle=[vehicle("VEH-1")])
    assert start_api().get("/v1/vehicles/VEH-1").status_code == 200
    assert slow((tmp_path / "api.log").read_text()) == []


async def test_the_consumer_logs_slow_statements(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup
) -> None:
    replica = group.start(SQL_LOG_SLOWER_THAN_MS="0")
    logged = await replica.until_logged("slow_statement")
    assert logged["statement"]
    assert "args" not in logged
