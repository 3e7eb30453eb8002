"""The running API conforms to its OpenAPI document, and random bytes neither break it nor make its memory grow."""

import asyncio
import os
import random
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from api.auth.api_keys import Scope
from deploy.stack.processes import end_of
from tests.contracts.openapi import document
from tests.contracts.run_schemathesis import run_schemathesis
from tests.fuzz.malformed_requests import exchange, malformed_request
from tests.support.database import Database
from tests.support.database_rows import insert_assignment
from tests.support.key_file import KeyFile
from tests.support.records import meter, minute, vehicle
from tests.support.responses import StartApi, body, problem
from tests.support.waiting import until

pytestmark = pytest.mark.anyio
SEED = 20261126
FUZZ_SECONDS = int(os.environ.get("FUZZ_SECONDS", "0"))  # set by make fuzz, which runs longer and with random seeds
NONSENSE = 400 + 5 * FUZZ_SECONDS
MAX_GROWTH_BYTES = 16 << 20


@pytest.mark.usefixtures("topics")
async def test_every_response_conforms_to_the_openapi_document(
    start_api: StartApi, write: Any, database: Database, tmp_path: Path
) -> None:
    await insert_assignment(database, "VEH-001", "METER-001")
    await write(
        meter=[meter(at=minute(each)) for each in range(60)], vehicle=[vehicle(at=minute(each)) for each in range(60)]
    )
    keys = KeyFile(tmp_path / "keys.json")
    key = keys.add(Scope.READ, Scope.INGEST)
    client = start_api(**keys.settings)
    assert body(client.get("/openapi.json")) == document()

    await until_gateway_is_ready(client)
    asked = run_schemathesis(str(client.base_url), key, examples=15, seconds=FUZZ_SECONDS // 2 or None)
    assert asked.returncode == 0, asked.stdout[-20_000:] + asked.stderr[-2_000:]
    assert "No issues found" in asked.stdout


async def test_an_unsupported_method_is_rejected_with_the_supported_ones(start_api: StartApi) -> None:
    client = start_api()
    for path in ("/v1/vehicles", "/v1/stream", "/healthz"):
        answer = client.request("PATCH", path)
        problem(answer, 405)
        assert "GET" in answer.headers["allow"]


@pytest.mark.parametrize(
    "query",
    [
        "/v1/vehicles?limit=99999999999999999999999999",
        "/v1/vehicles?limit=1e400",
        "/v1/vehicles?after=%00",
        "/v1/vehicles?after=%ED%A0%80",
        "/v1/vehicles/%00",
        "/v1/vehicles/%ED%A0%80",
        "/v1/fleet/ranking?search=%00",
        "/v1/fleet/ranking?after=%00",
        "/v1/fleet/summary?end=0",
        "/v1/fleet/summary?end=1770000000",
        "/v1/fleet/summary?end=0000-01-01T00:00:00Z",
        "/v1/fleet/summary?end=2026-02-30T00:00:00Z",
        "/v1/stream?vehicleId=%00",
    ],
)
async def test_an_invalid_parameter_is_named_and_rejected(start_api: StartApi, query: str) -> None:
    field = problem(start_api().get(query), 422)["errors"][0]["field"]
    assert field in {"limit", "after", "vehicleId", "search", "end"}


@pytest.mark.usefixtures("topics")
async def test_random_bytes_are_rejected_and_leak_no_connection_and_no_memory(
    start_api: StartApi, tmp_path: Path
) -> None:
    client = start_api()
    await until_gateway_is_ready(client)
    address = (client.base_url.host, client.base_url.port or 80)
    service = _process_listening_on(address[1])
    dice = random.Random(SEED if not FUZZ_SECONDS else None)
    _send_random_bytes(address, dice, NONSENSE // 4)
    before = service.memory_info().rss
    _send_random_bytes(address, dice, NONSENSE)
    log = tmp_path / "api.log"

    async def no_connection_is_left() -> bool:
        return not [each for each in service.net_connections("tcp") if each.status == "CLOSE_WAIT"]

    await until(no_connection_is_left, f"all connections are closed; the log ends:\n{end_of(log)}", timeout=90)
    assert body(client.get("/healthz"))["status"] == "ok"
    assert "Traceback" not in log.read_text(), end_of(log, 60)
    assert service.memory_info().rss - before < MAX_GROWTH_BYTES


async def until_gateway_is_ready(client: httpx.Client) -> None:
    async def ready() -> bool:
        return "gateway" not in body(await asyncio.to_thread(client.get, "/readyz"))["waitingFor"]

    await until(ready, "the gateway is ready")


def _process_listening_on(port: int) -> psutil.Process:
    for process in psutil.Process().children(recursive=True):
        if any(each.status == "LISTEN" and each.laddr.port == port for each in process.net_connections("tcp")):
            return process
    raise AssertionError(f"no child process listens on {port}")


def _send_random_bytes(address: tuple[str, int], dice: random.Random, times: int) -> None:
    for _ in range(times):
        kind, parts, half_close = malformed_request(dice)
        received = exchange(address, parts, half_close=half_close)
        assert b"HTTP/1.1 500" not in received, f"{kind} of {parts!r:.500} gave {received!r:.500}"
