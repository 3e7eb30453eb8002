"""The ingestion gateway with a real Kafka: batches, rejections, limits, and slow or broken clients."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from api.auth.api_keys import Scope
from deploy.stack.processes import Processes
from deploy.stack.servers import Servers
from deploy.stack.topics import create_topics
from tests.support.key_file import KeyFile, bearer
from tests.support.ledger import Topics
from tests.support.records import meter, vehicle
from tests.support.responses import StartApi, body, problem
from tests.support.services import ingestion_service
from tests.support.waiting import until

pytestmark = pytest.mark.anyio
NOW = datetime.now(UTC)
NDJSON = {"Content-Type": "application/x-ndjson"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def gateway(processes: Processes, environment: dict[str, str], tmp_path: Path) -> Iterator[StartApi]:
    """Starts the gateway alone, in its own process and without a database; returns a client for it."""
    alone = {name: value for name, value in environment.items() if not name.startswith("DATABASE_")}
    with ExitStack() as exits:

        def start(**settings: str) -> httpx.Client:
            return exits.enter_context(ingestion_service(processes, alone | settings, tmp_path))

        yield start


async def wait_until_ready(client: httpx.Client) -> None:
    async def ready() -> bool:
        return not waiting_for(client)

    await until(ready, "the gateway is ready")


def waiting_for(client: httpx.Client) -> dict[str, str]:
    waiting: dict[str, str] = client.get("/readyz").json()["waitingFor"]
    return waiting


async def read_topic(stack: Servers, topics: Topics, topic: str) -> list[Any]:
    """All records of a topic."""
    async with AIOKafkaConsumer(bootstrap_servers=stack.kafka_bootstrap_servers, enable_auto_commit=False) as consumer:
        partitions = [TopicPartition(topic, each) for each in range(topics.partitions)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(partitions)
        found: list[Any] = []
        while len(found) < sum(ends.values()):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                found += records
        return found


def metric(client: httpx.Client, name: str, **labels: str) -> float:
    return sum(
        sample.value
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def nothing_in_flight(client: httpx.Client) -> bool:
    names = ("energy_gateway_in_flight", "energy_gateway_requests_in_flight", "energy_gateway_bytes_in_flight")
    return not any(metric(client, name) for name in names)


class RawConnection:
    """A client that need not follow HTTP."""

    def __init__(self, client: httpx.Client) -> None:
        self._address = (client.base_url.host, client.base_url.port or 80)

    async def __aenter__(self) -> "RawConnection":
        self.reader, self.writer = await asyncio.open_connection(*self._address)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()

    def send(self, path: str, content: bytes, *headers: str, length: int | None = None) -> None:
        """Sends the head of a POST and some or all of its body."""
        lines = [f"POST {path} HTTP/1.1", "Host: gateway", *headers]
        lines.append(f"Content-Length: {len(content) if length is None else length}")
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + content)

    async def receive(self) -> tuple[int, dict[str, str], bytes]:
        """One response: status, headers, body."""
        async with asyncio.timeout(60):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            return int(head[0].split()[1]), headers, await self.reader.readexactly(int(headers["content-length"]))

    async def is_closed(self) -> bool:
        """Whether the server closes the connection without a reset."""
        async with asyncio.timeout(60):
            return await self.reader.read(1) == b""


async def test_each_item_of_a_json_or_ndjson_batch_becomes_a_record(
    gateway: StartApi, stack: Servers, topics: Topics
) -> None:
    client = gateway()
    await wait_until_ready(client)
    readings = [vehicle(f"VEH-{each}", NOW, each / 10) for each in range(250)]
    array, lines = b"[" + b",".join(readings[:100]) + b"]", b"\n".join(readings[100:]) + b"\n\n"
    for content, headers, count in ((array, JSON, 100), (lines, NDJSON, 150)):
        answer = body(client.post("/v1/ingestion/vehicle/batch", content=content, headers=headers))
        assert (answer["ingested"], answer["refused"], answer["sendAgain"]) == (count, 0, [])
        assert [each["index"] for each in answer["items"]] == list(range(count))
    stored = await read_topic(stack, topics, topics.vehicle)
    assert {each.key.decode(): json.loads(each.value)["kwhDeliveredDc"] for each in stored} == {
        f"VEH-{each}": each / 10 for each in range(250)
    }
    assert len(stored) == 250
    counted = metric(client, "energy_gateway_readings_total", topic=topics.vehicle, outcome="acknowledged")
    assert counted == 250


async def test_each_reading_of_a_batch_has_its_own_outcome(gateway: StartApi, stack: Servers, topics: Topics) -> None:
    client = gateway()
    await wait_until_ready(client)
    lines = [meter("METER-1", NOW), b"{", meter("METER-2", NOW, kwh=-1), meter("METER-3", datetime(2001, 1, 1, tzinfo=UTC)),
             b"[]", meter("METER 5", NOW), meter("METER-6", NOW)]  # fmt: skip

    answer = body(client.post("/v1/ingestion/meter/batch", content=b"\r\n".join(lines), headers=NDJSON))

    assert [each["status"] for each in answer["items"]] == [201, 422, 422, 422, 422, 422, 201]
    reasons = [[error["reason"] for error in each.get("errors", [])] for each in answer["items"]]
    assert reasons == [
        [], ["invalid_json"], ["out_of_range"], ["timestamp_too_old"], ["not_an_object"], ["invalid_id"], []
    ]  # fmt: skip
    assert answer["items"][0]["message"] == "Meter METER-1 data ingested successfully"
    assert (answer["ingested"], answer["refused"], answer["sendAgain"]) == (2, 5, [])
    assert {each.key for each in await read_topic(stack, topics, topics.meter)} == {b"METER-1", b"METER-6"}


async def test_a_device_has_the_same_partition_as_with_a_kafka_client(
    gateway: StartApi, stack: Servers, topics: Topics
) -> None:
    client = gateway()
    await wait_until_ready(client)
    ids = [f"METER-{each}" for each in range(40)]
    body(client.post("/v1/ingestion/meter/batch", content=b"\n".join(meter(each, NOW) for each in ids), headers=NDJSON))
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka_bootstrap_servers) as producer:
        for each in ids:
            await producer.send_and_wait(topics.meter, meter(each, NOW), each.encode())
    used: dict[bytes, set[int]] = {}
    for record in await read_topic(stack, topics, topics.meter):
        used.setdefault(record.key, set()).add(record.partition)
    assert len(used) == 40
    assert {len(each) for each in used.values()} == {1}


REJECTED_BATCHES: list[tuple[bytes, dict[str, str], int, str]] = [
    (b"", JSON, 400, "empty"),
    (b" \n \n", NDJSON, 400, "empty"),
    (b"{}", JSON, 400, "array"),
    (b"[1,", JSON, 400, "not JSON"),
    (b"[" * 100_000, JSON, 400, "nested"),
    (b"[]", {"Content-Type": "text/csv"}, 415, "application/x-ndjson"),
    (b"[]", {}, 415, "Content-Type"),
    (b"[]", JSON | {"Content-Encoding": "gzip"}, 415, "compressed"),
    (b"[" + b"0," * 100 + b"0]", JSON, 413, "100 readings"),
    (b"{}\n" * 101, NDJSON, 413, "100 readings"),
    (b" " * 200_001, JSON, 413, "200000"),
]


async def test_an_invalid_batch_is_rejected_as_a_whole(start_api: StartApi, stack: Servers, topics: Topics) -> None:
    client = start_api(INGESTION_BATCH_MAX_ITEMS="100", INGESTION_BATCH_MAX_BYTES="200000")
    await wait_until_ready(client)
    for content, headers, status, detail in REJECTED_BATCHES:
        rejected = problem(client.post("/v1/ingestion/meter/batch", content=content, headers=headers), status)
        assert detail in rejected["detail"]
    assert await read_topic(stack, topics, topics.meter) == []
    assert nothing_in_flight(client)


async def test_a_request_that_is_rejected_before_its_body_is_read_gets_a_response_and_then_the_connection_is_closed(
    gateway: StartApi, topics: Topics
) -> None:
    client = gateway()
    await wait_until_ready(client)
    async with RawConnection(client) as connection:
        connection.send("/v1/ingestion/meter", b" " * 1000, length=50_000_000)
        status, headers, _ = await connection.receive()
        assert (status, headers["connection"]) == (413, "close")
        connection.writer.write(b" " * 3_000_000)  # sent before the response is read
        assert await connection.is_closed()
    async with RawConnection(client) as connection:  # a body without Content-Length
        connection.writer.write(
            b"POST /v1/ingestion/meter HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for _ in range(70):
            connection.writer.write(b"400\r\n" + b" " * 1024 + b"\r\n")
        assert (await connection.receive())[0] == 413
        assert await connection.is_closed()
    async with RawConnection(client) as connection:  # a client that waits for 100 Continue does not send the body
        connection.send("/v1/ingestion/meter", b"", "Expect: 100-continue", length=50_000_000)
        assert (await connection.receive())[0] == 413


async def test_the_connection_stays_open_after_a_rejection_when_the_whole_body_was_read(
    gateway: StartApi, topics: Topics
) -> None:
    client = gateway()
    await wait_until_ready(client)
    expected = [(meter("METER-1", NOW), 201), (b"{}", 422), (b"{", 400), (b"", 400), (meter("METER-1", NOW), 201)]
    async with RawConnection(client) as connection:
        for content, status in expected:
            connection.send("/v1/ingestion/meter", content)
            answered, headers, _ = await connection.receive()
            assert (answered, headers.get("connection")) == (status, None)
        connection.send("/v1/ingestion/meter/batch", b"[]", "Content-Type: text/plain")
        answered, headers, _ = await connection.receive()
        assert (answered, headers.get("connection")) == (415, None)


async def test_a_body_that_arrives_too_slowly_is_rejected(gateway: StartApi, topics: Topics) -> None:
    client = gateway(INGESTION_BODY_WITHIN_SECONDS="1")
    await wait_until_ready(client)
    async with RawConnection(client) as connection:
        connection.send("/v1/ingestion/meter/batch", b"[", "Content-Type: application/json", length=1000)

        async def trickle() -> bool:
            connection.writer.write(b" ")
            await connection.writer.drain()
            return bool(connection.reader._buffer)  # type: ignore[attr-defined]  # whether a response has arrived

        await until(trickle, "a response to a slow body", every=0.2)
        status, headers, content = await connection.receive()
        assert (status, headers["connection"]) == (408, "close")
        assert b"1 s" in content
        assert await connection.is_closed()
    assert nothing_in_flight(client)
    client.post("/v1/ingestion/meter", content=meter("METER-1", NOW)).raise_for_status()


async def test_the_memory_of_a_body_is_freed_when_its_client_disconnects(gateway: StartApi, topics: Topics) -> None:
    client = gateway()
    await wait_until_ready(client)
    for _ in range(20):
        async with RawConnection(client) as connection:
            connection.send(
                "/v1/ingestion/meter/batch", b"[" + b" " * 30_000, "Content-Type: application/json", length=100_000
            )
            await connection.writer.drain()

    async def all_freed() -> bool:
        return nothing_in_flight(client)

    await until(all_freed, "the bodies of disconnected clients are freed")


async def test_a_client_that_never_reads_is_disconnected(gateway: StartApi, topics: Topics) -> None:
    client = gateway(ANSWER_TAKEN_WITHIN_SECONDS="2")
    await wait_until_ready(client)
    invalid = b"[" + b",".join([b"{}"] * 2000) + b"]"  # its response is many times larger
    async with RawConnection(client) as connection:
        connection.writer.transport.set_write_buffer_limits(high=1 << 30)
        for _ in range(30):
            connection.send("/v1/ingestion/meter/batch", invalid, "Content-Type: application/json")

        async def disconnected() -> bool:
            return metric(client, "energy_http_answers_cut_off_total") == 1

        await until(disconnected, "the client is disconnected", every=0.5)
    assert nothing_in_flight(client)
    client.post("/v1/ingestion/meter", content=meter("METER-1", NOW)).raise_for_status()


async def test_a_missing_topic_is_reported_and_never_created(
    gateway: StartApi, stack: Servers, new_topics: Topics
) -> None:
    client = gateway()

    async def named() -> bool:
        return new_topics.meter in waiting_for(client).get("gateway", "")

    await until(named, "the gateway reports the missing topics")
    rejected = client.post("/v1/ingestion/meter", content=meter("METER-1", NOW))
    assert new_topics.meter in problem(rejected, 503)["detail"]
    assert int(rejected.headers["retry-after"]) > 0
    async with AIOKafkaConsumer(bootstrap_servers=stack.kafka_bootstrap_servers) as consumer:
        assert new_topics.meter not in await consumer.topics()
    names = (new_topics.meter, new_topics.vehicle)
    await create_topics(stack.kafka_bootstrap_servers, names, partitions=new_topics.partitions)
    await wait_until_ready(client)
    assert client.post("/v1/ingestion/meter", content=meter("METER-1", NOW)).status_code == 201
    assert len(await read_topic(stack, new_topics, new_topics.meter)) == 1


async def test_the_gateway_alone_has_no_other_routes(gateway: StartApi, topics: Topics) -> None:
    client = gateway()
    assert set(client.get("/openapi.json").json()["paths"]) == {
        "/v1/ingestion/meter", "/v1/ingestion/vehicle", "/v1/ingestion/meter/batch", "/v1/ingestion/vehicle/batch",
        "/v1/access", "/healthz", "/readyz",
    }  # fmt: skip
    assert client.get("/healthz").json()["status"] == "ok"
    problem(client.get("/v1/vehicles/VEH-1"), 404)
    problem(client.get("/v1/ingestion/meter"), 405)
    assert "METER-" not in client.get("/metrics").text


async def test_the_gateway_alone_requires_keys_and_limits_them_to_their_devices(
    gateway: StartApi, stack: Servers, topics: Topics, tmp_path: Path
) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    own, reader = bearer(keys.add(Scope.INGEST, devices=["METER-own-"])), bearer(keys.add(Scope.READ))
    client = gateway(**keys.settings)
    await wait_until_ready(client)
    ids = ["METER-own-1", "METER-other-1", "METER-own-2"]
    lines = b"\n".join(meter(each, NOW) for each in ids)

    problem(client.post("/v1/ingestion/meter", content=meter("METER-own-1", NOW)), 401)
    problem(client.post("/v1/ingestion/meter/batch", content=lines, headers=NDJSON), 401)
    problem(client.post("/v1/ingestion/meter/batch", content=lines, headers=NDJSON | reader), 403)
    assert (
        "METER-other-1"
        in problem(client.post("/v1/ingestion/meter", content=meter(ids[1], NOW), headers=own), 403)["detail"]
    )
    assert await read_topic(stack, topics, topics.meter) == []

    answer = body(client.post("/v1/ingestion/meter/batch", content=lines, headers=NDJSON | own))
    assert [each["status"] for each in answer["items"]] == [201, 403, 201]
    assert (answer["ingested"], answer["refused"]) == (2, 1)
    assert {each.key for each in await read_topic(stack, topics, topics.meter)} == {b"METER-own-1", b"METER-own-2"}
    assert metric(client, "energy_gateway_readings_total", outcome="forbidden") == 2
