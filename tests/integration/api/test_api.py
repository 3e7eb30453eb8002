"""The API over HTTP, with a real Kafka and a real PostgreSQL."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from deploy.stack.ports import free_port
from deploy.stack.servers import Servers
from tests.support.database import Database
from tests.support.database_rows import insert_assignment
from tests.support.ledger import Topics
from tests.support.records import meter, minute, vehicle
from tests.support.responses import StartApi, problem
from tests.support.waiting import until

pytestmark = pytest.mark.anyio
NOON = minute(0)
TOMORROW = NOON + timedelta(hours=24)


def performance(client: httpx.Client, vehicle_id: str, end: datetime = TOMORROW) -> dict[str, Any]:
    answer = client.get(f"/v1/analytics/performance/{vehicle_id}", params={"end": end.isoformat()})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_two_readings_and_an_assignment_are_enough_for_a_ratio(
    start_api: StartApi, write: Any, database: Database
) -> None:
    await insert_assignment(database, "VEH-001", "METER-001")
    await write(meter=[meter(kwh=45.23)], vehicle=[vehicle(kwh=32.15, batteryTemp=28.3)])

    found = performance(start_api(), "VEH-001")

    assert found.pop("reason")
    assert found == {
        "vehicleId": "VEH-001",
        "totalEnergyConsumedAc": 45.23,
        "totalEnergyDeliveredDc": 32.15,
        "efficiencyRatio": 71.08,
        "averageBatteryTemp": 28.3,
        "timeWindowStart": NOON.isoformat().replace("+00:00", "Z"),
        "timeWindowEnd": TOMORROW.isoformat().replace("+00:00", "Z"),
        "dataPoints": 1,
        "coverage": {"ac": 0.0007, "dc": 0.0007},
        "status": "insufficient_data",
    }


async def test_without_an_assignment_the_ac_energy_is_null_with_a_reason(start_api: StartApi, write: Any) -> None:
    await write(meter=[meter()], vehicle=[vehicle()])
    found = performance(start_api(), "VEH-001")
    assert (found["totalEnergyConsumedAc"], found["efficiencyRatio"], found["status"]) == (None, None, "unassigned")
    assert found["totalEnergyDeliveredDc"] == 0.4
    assert "no meter" in found["reason"]


async def test_a_known_vehicle_without_readings_has_zeros_and_an_unknown_one_is_not_found(
    start_api: StartApi, write: Any, database: Database
) -> None:
    await insert_assignment(database, "VEH-002", "METER-002")
    await write(vehicle=[vehicle()])
    client = start_api()
    for vehicle_id, end in (("VEH-001", NOON), ("VEH-002", TOMORROW)):
        silent = performance(client, vehicle_id, end)
        assert (silent["dataPoints"], silent["totalEnergyDeliveredDc"]) == (0, 0)
        assert (silent["averageBatteryTemp"], silent["efficiencyRatio"]) == (None, None)
    assert "VEH-404" in problem(client.get("/v1/analytics/performance/VEH-404"), 404)["detail"]


async def test_the_window_includes_its_start_and_excludes_its_end(start_api: StartApi, write: Any) -> None:
    edges = [NOON - timedelta(microseconds=1), NOON, TOMORROW - timedelta(microseconds=1), TOMORROW]
    await write(vehicle=[vehicle(at=at, kwh=2**power) for power, at in enumerate(edges)])
    found = performance(start_api(), "VEH-001")
    assert (found["totalEnergyDeliveredDc"], found["dataPoints"]) == (2 + 4, 2)


async def test_both_sides_are_summed_separately_and_a_meter_counts_only_while_it_is_assigned(
    start_api: StartApi, write: Any, database: Database
) -> None:
    shared, own = "METER-shared", "METER-own"
    await insert_assignment(database, "VEH-1", shared, minute(0), minute(60))
    await insert_assignment(database, "VEH-2", shared, minute(60), minute(120))
    await insert_assignment(database, "VEH-1", own, minute(90), None)
    hours = range(180)
    await write(
        meter=[meter(name, minute(each), kwh) for name, kwh in ((shared, 1), (own, 10)) for each in hours],
        vehicle=[vehicle(name, minute(each), 0.5) for name in ("VEH-1", "VEH-2") for each in hours],
    )
    client = start_api()

    first, second = performance(client, "VEH-1"), performance(client, "VEH-2")

    assert first["totalEnergyConsumedAc"] == 60 * 1 + 90 * 10
    assert first["totalEnergyDeliveredDc"] == 180 * 0.5
    assert first["efficiencyRatio"] == round(150 * 0.5 / 960 * 100, 2), "of the assigned time on both sides"
    assert (second["totalEnergyConsumedAc"], second["efficiencyRatio"]) == (60, 50)
    assert (first["dataPoints"], second["dataPoints"]) == (180, 180)


async def test_the_window_ends_now_by_default_and_at_an_instant_with_any_offset(
    start_api: StartApi, write: Any
) -> None:
    await write(vehicle=[vehicle(at=datetime.now(UTC) - timedelta(hours=1))])
    client = start_api()
    found = client.get("/v1/analytics/performance/VEH-001").json()
    end = datetime.fromisoformat(found["timeWindowEnd"])
    assert found["dataPoints"] == 1
    assert timedelta(0) <= datetime.now(UTC) - end < timedelta(minutes=1)
    elsewhere = end.astimezone(tz=datetime.fromisoformat("2026-01-01T00:00:00+05:30").tzinfo)
    assert performance(client, "VEH-001", elsewhere)["timeWindowEnd"] == found["timeWindowEnd"]


async def test_the_live_status_of_one_device_and_of_all_page_by_page(start_api: StartApi, write: Any) -> None:
    await write(
        meter=[meter(f"METER-{each}", minute(each)) for each in range(5)],
        vehicle=[vehicle("VEH-1", minute(3), soc=81), vehicle("VEH-1", minute(1), soc=79)],
    )
    client = start_api()

    live = client.get("/v1/vehicles/VEH-1").json()
    assert datetime.now(UTC) - datetime.fromisoformat(live.pop("updatedAt")) < timedelta(minutes=1)
    assert live == {
        "vehicleId": "VEH-1",
        "soc": 81,
        "lastKwhDeliveredDc": 0.4,
        "lastBatteryTemp": 25,
        "recordedAt": minute(3).isoformat().replace("+00:00", "Z"),
    }
    assert client.get("/v1/meters/METER-4").json()["lastVoltage"] == 240.5
    assert "VEH-9" in problem(client.get("/v1/vehicles/VEH-9"), 404)["detail"]

    seen: list[list[str]] = []
    after: str | None = ""
    for _ in range(3):
        page = client.get("/v1/meters", params={"limit": 2, "after": after}).json()
        seen.append([each["meterId"] for each in page["items"]])
        after = page["next"]
    assert seen == [["METER-0", "METER-1"], ["METER-2", "METER-3"], ["METER-4"]]
    assert after is None
    assert client.get("/v1/vehicles", params={"after": "VEH-1"}).json() == {"items": [], "next": None}
    assert client.get("/v1/vehicles", params={"after": "\0"}).status_code == 422


async def test_invalid_requests_get_problem_details(start_api: StartApi) -> None:
    client = start_api()
    for path in ("performance/" + "x" * 65, "performance/a%20b", "performance/%00", "performance/VEH-1?end=now",
                 "performance/VEH-1?end=2026-01-01T00:00:00", "performance/VEH-1?end=9999-12-31T23:59:59Z"):  # fmt: skip
        errors = problem(client.get(f"/v1/analytics/{path}"), 422)["errors"]
        assert errors[0]["field"] in {"vehicleId", "end"}, path
    for limit in ("0", "1001", "many"):
        assert problem(client.get("/v1/meters", params={"limit": limit}), 422)["errors"][0]["field"] == "limit"
    assert "/docs" in problem(client.get("/v1/nothing"), 404)["detail"]
    refused = client.delete("/v1/meters")
    problem(refused, 405)
    assert refused.headers["allow"] == "GET"


async def test_a_posted_reading_becomes_the_record_that_a_device_would_have_produced(
    start_api: StartApi, stack: Servers, topics: Topics
) -> None:
    client = start_api()
    await _gateway_ready(client)
    now = datetime.now(UTC)
    readings = {
        topics.meter: ("/v1/ingestion/meter", meter("METER-7", now), "Meter METER-7"),
        topics.vehicle: ("/v1/ingestion/vehicle", vehicle("VEH-7", now), "Vehicle VEH-7"),
    }
    for topic, (path, body, who) in readings.items():
        answer = client.post(path, content=body)
        assert answer.status_code == 201
        assert answer.json() == {"success": True, "message": f"{who} data ingested successfully"}
        record = await _only_record(stack, topics, topic)
        assert record.key.decode() == who.split()[1]
        sent, received = json.loads(body), json.loads(record.value)
        assert datetime.fromisoformat(received.pop("timestamp")) == datetime.fromisoformat(sent.pop("timestamp"))
        assert received == sent


@pytest.mark.parametrize(
    ("body", "status", "reasons"),
    [
        (b"", 400, ["empty_value"]),
        (b"{", 400, ["invalid_json"]),
        (b"[]", 400, ["not_an_object"]),
        (b"{}", 422, ["missing_field"] * 4),
        (meter(at=datetime.now(UTC), kwh=-1, voltage="high"), 422, ["out_of_range", "invalid_type"]),
        (meter(at=datetime(2001, 1, 1, tzinfo=UTC)), 422, ["timestamp_too_old"]),
        (b" " * 70_000, 413, []),
    ],
    ids=["empty", "invalid JSON", "an array", "no fields", "two invalid fields", "too old", "too large"],
)
async def test_an_invalid_reading_is_rejected_with_a_reason_per_field(
    start_api: StartApi, stack: Servers, topics: Topics, body: bytes, status: int, reasons: list[str]
) -> None:
    client = start_api()
    await _gateway_ready(client)  # until then bodies are not read
    refused = problem(client.post("/v1/ingestion/meter", content=body), status)
    assert [each["reason"] for each in refused.get("errors", [])] == reasons
    assert await _records_in(stack, topics, topics.meter) == 0


async def test_the_gateway_can_be_disabled(start_api: StartApi) -> None:
    client = start_api(INGESTION_ENABLED="false")
    problem(client.post("/v1/ingestion/meter", content=meter(at=datetime.now(UTC))), 404)
    assert "/v1/ingestion/meter" not in client.get("/openapi.json").json()["paths"]
    assert _waiting_for(client) == {}


async def test_without_kafka_ingestion_fails_and_queries_succeed(start_api: StartApi, write: Any) -> None:
    await write(vehicle=[vehicle()])
    client = start_api(KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{free_port()}")
    answer = client.post("/v1/ingestion/vehicle", content=vehicle(at=datetime.now(UTC)))
    assert "Kafka" in problem(answer, 503)["detail"]
    assert int(answer.headers["retry-after"]) > 0
    ready = client.get("/readyz")
    assert (ready.status_code, list(ready.json()["waitingFor"])) == (200, ["gateway"])
    assert performance(client, "VEH-001")["dataPoints"] == 1


async def test_without_the_database_the_service_is_alive_and_reports_what_it_waits_for(start_api: StartApi) -> None:
    client = start_api(DATABASE_READ_URL=f"postgresql://reader:secret-word@127.0.0.1:{free_port()}/energy")
    answer = client.get("/v1/vehicles/VEH-1")
    problem(answer, 503)
    assert int(answer.headers["retry-after"]) > 0
    ready = client.get("/readyz")
    assert ready.status_code == 503
    assert "database" in ready.json()["waitingFor"]
    assert client.get("/healthz").json()["status"] == "ok"
    assert "energy_http_request_duration_seconds" in client.get("/metrics").text
    assert "secret-word" not in answer.text + ready.text


async def test_a_query_that_takes_too_long_is_cancelled_by_the_server(start_api: StartApi, database: Database) -> None:
    client = start_api()
    connection = await asyncpg.connect(database.migrator_url)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE vehicle_telemetry_history IN ACCESS EXCLUSIVE MODE")
            assert "in time" in problem(client.get("/v1/analytics/performance/VEH-1"), 503)["detail"]
    finally:
        await connection.close()
    problem(client.get("/v1/analytics/performance/VEH-1"), 404)


async def test_many_requests_share_a_small_pool(start_api: StartApi, write: Any, database: Database) -> None:
    await write(vehicle=[vehicle()])
    client = start_api(DATABASE_POOL_SIZE="2", DATABASE_URL="postgresql://nobody@127.0.0.1:1/not-used-for-reading")
    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda _: performance(client, "VEH-001")["dataPoints"], range(200)))
    assert found == [1] * 200
    used = await database.value(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'energy-api' AND datname = $1", database.name
    )
    assert 1 <= used <= 2


async def test_dead_letters_are_counted_in_a_route_and_in_the_metrics(start_api: StartApi, write: Any) -> None:
    await write(meter=[b"?", b"?", meter(kwh=-1), meter()])
    client = start_api()
    counted = client.get("/v1/dead-letters").json()
    assert counted["total"] == 3
    assert {(each["topic"], each["reason"]): each["letters"] for each in counted["items"]} == {
        ("meter-readings", "invalid_json"): 2,
        ("meter-readings", "out_of_range"): 1,
    }
    line = 'energy_dead_letters_unresolved{reason="invalid_json",topic="meter-readings"} 2.0'
    assert line in client.get("/metrics").text


async def test_requests_are_measured_by_route_and_never_by_device(start_api: StartApi, write: Any) -> None:
    await write(vehicle=[vehicle()])
    client = start_api()
    performance(client, "VEH-001")
    client.get("/v1/vehicles/VEH-404")
    client.get("/v1/made/up")
    client.request("PROPFIND", "/v1/vehicles")

    text = client.get("/metrics").text
    counted = {
        tuple(sample.labels[label] for label in ("method", "route", "status")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "energy_http_request_duration_seconds_count"
    }
    assert counted[("GET", "/v1/analytics/performance/{vehicleId}", "200")] == 1
    assert counted[("GET", "/v1/vehicles/{vehicleId}", "404")] == 1
    assert counted[("GET", "unmatched", "404")] == 1
    assert counted[("other", "/v1/vehicles", "405")] == 1
    assert "VEH-" not in text


async def test_openapi_describes_every_route_with_examples_and_problems(start_api: StartApi) -> None:
    described = start_api().get("/openapi.json").json()
    assert set(described["paths"]) == {
        "/v1/analytics/performance/{vehicleId}", "/v1/analytics/performance", "/v1/analytics/trend/{vehicleId}",
        "/v1/fleet/summary", "/v1/fleet/ranking", "/v1/fleet/aging", "/v1/faults", "/v1/stream",
        "/v1/vehicles", "/v1/vehicles/{vehicleId}", "/v1/vehicles/{vehicleId}/history",
        "/v1/meters", "/v1/meters/{meterId}", "/v1/meters/{meterId}/history",
        "/v1/ingestion/meter", "/v1/ingestion/vehicle", "/v1/ingestion/meter/batch", "/v1/ingestion/vehicle/batch",
        "/v1/access", "/v1/dead-letters", "/healthz", "/readyz",
    }  # fmt: skip
    for path, operations in described["paths"].items():
        for operation in operations.values():
            assert operation["summary"], path
            if path.startswith("/v1") and path != "/v1/access":  # which has no dependency
                assert "application/problem+json" in operation["responses"]["503"]["content"]
    for kind in ("meter", "vehicle"):
        body = described["paths"][f"/v1/ingestion/{kind}"]["post"]["requestBody"]["content"]["application/json"]
        assert set(body["example"]) == set(body["schema"]["properties"])
    references = set(_references(described))
    assert references
    for reference in references:
        assert reference.removeprefix("#/components/schemas/") in described["components"]["schemas"]


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for each in value.values():
            yield from _references(each)
    elif isinstance(value, list):
        for each in value:
            yield from _references(each)


async def _gateway_ready(client: httpx.Client) -> None:
    async def ready() -> bool:
        return not _waiting_for(client)

    await until(ready, "the gateway has found its topics")


def _waiting_for(client: httpx.Client) -> dict[str, str]:
    waiting_for: dict[str, str] = client.get("/readyz").json()["waitingFor"]
    return waiting_for


async def _only_record(stack: Servers, topics: Topics, topic: str) -> Any:
    async with AIOKafkaConsumer(
        topic, bootstrap_servers=stack.kafka_bootstrap_servers, auto_offset_reset="earliest"
    ) as consumer:
        record = await consumer.getone()
    assert await _records_in(stack, topics, topic) == 1
    return record


async def _records_in(stack: Servers, topics: Topics, topic: str) -> int:
    async with AIOKafkaConsumer(bootstrap_servers=stack.kafka_bootstrap_servers) as consumer:
        partitions = [TopicPartition(topic, each) for each in range(topics.partitions)]
        return sum((await consumer.end_offsets(partitions)).values())
