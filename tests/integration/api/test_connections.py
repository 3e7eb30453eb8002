"""Connections with malformed, slow or excessive HTTP get one response and are closed."""

import asyncio
from pathlib import Path

import httpx
import pytest

from tests.support.responses import StartApi
from tests.support.waiting import until

pytestmark = pytest.mark.anyio
GET = b"GET /healthz HTTP/1.1\r\nHost: here\r\n"
POST = b"POST /v1/ingestion/meter HTTP/1.1\r\nHost: here\r\n"
TIMEOUT_SECONDS = 30
NOT_REQUESTS = [
    (b"hello\r\n\r\n", 400),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),  # TLS
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    (b"GET /healthz HTTP/9.9\r\n\r\n", 400),
    (b"GET / healthz HTTP/1.1\r\n\r\n", 400),
    (GET + b"No colon\r\n\r\n", 400),
    (GET + b"Space : x\r\n\r\n", 400),
    (GET + b"Null: \x00\r\n\r\n", 400),
    (GET + b" folded: x\r\n\r\n", 400),
    (POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
    (POST + b"Content-Length: -1\r\n\r\n", 400),
    (POST + b"Content-Length: 99999999999999999999999\r\n\r\n", 400),
    (POST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
    (POST + b"Transfer-Encoding: gzip\r\n\r\nabc", 400),
    (b"GET /\xff HTTP/1.1\r\n\r\n", 400),
    (b"CONNECT here:80 HTTP/1.1\r\nHost: here\r\n\r\n", 400),
    (GET + b"X: y\r\n" * 70 + b"\r\n", 431),
    (GET + b"X: " + b"y" * 20_000 + b"\r\n\r\n", 431),
    (GET + b"X: " + b"y" * 200_000, 431),
    (b"G" * 200_000, 400),
    (b"GET /healthz?" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
    (b"GET /healthz?" + b"x" * 300_000, 414),
]


async def send(client: httpx.Client, *parts: bytes) -> bytes:
    """All bytes that the API sends until it closes the connection."""
    reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


def assert_no_error_logged(log: Path) -> None:
    logged = log.read_text()
    assert "Traceback" not in logged
    assert "request_failed" not in logged


def test_malformed_requests_get_one_response_and_a_closed_connection(start_api: StartApi, tmp_path: Path) -> None:
    client = start_api()
    for sent, code in NOT_REQUESTS:
        answer = asyncio.run(send(client, sent))
        head, _, content = answer.partition(b"\r\n\r\n")
        assert head.startswith(f"HTTP/1.1 {code} ".encode()), (sent[:100], answer[:300])
        assert answer.count(b"HTTP/1.1 ") == 1, sent[:100]
        assert f'"status":{code}'.encode() in content
        for header in (
            b"connection: close",
            b"x-content-type-options: nosniff",
            b"content-type: application/problem+json",
        ):
            assert header in head.lower(), sent[:100]
    assert client.get("/healthz").status_code == 200
    assert_no_error_logged(tmp_path / "api.log")


def test_a_slow_head_times_out(start_api: StartApi, tmp_path: Path) -> None:
    client = start_api(API_HEAD_TIMEOUT_SECONDS="2", API_KEEP_ALIVE_SECONDS="600")

    async def drip(drop: bytes, *, after: bytes, until_received: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writer.write(after)
        received = await reader.readuntil(until_received) if until_received else b""
        reading = asyncio.create_task(reader.read())
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while not reading.done():
                writer.write(drop)
                await asyncio.wait({reading}, timeout=0.2)
        writer.close()
        try:
            return received + await reading
        except ConnectionResetError:
            return received

    async def all_at_once() -> tuple[bytes, ...]:
        return await asyncio.gather(
            drip(b"X: y\r\n", after=GET, until_received=b""),
            drip(b"G", after=b"", until_received=b""),
            drip(b"\r\n", after=b"", until_received=b""),
            drip(b"\r\n", after=GET + b"\r\n", until_received=b"ok"),
            drip(b"X: y\r\n", after=GET + b"\r\n" + GET, until_received=b"ok"),
        )

    header_by_header, *_, after_a_request, second_request = asyncio.run(all_at_once())
    assert header_by_header.startswith(b"HTTP/1.1 408 ")
    assert after_a_request.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 408 " in second_request
    assert client.get("/healthz").status_code == 200
    assert_no_error_logged(tmp_path / "api.log")


def test_an_idle_connection_is_closed(start_api: StartApi) -> None:
    client = start_api(API_HEAD_TIMEOUT_SECONDS="1", API_KEEP_ALIVE_SECONDS="1")
    assert asyncio.run(send(client)) == b"", "no request, no response"
    kept = asyncio.run(send(client, GET + b"\r\n"))
    assert kept.startswith(b"HTTP/1.1 200 ")


def test_a_slow_stream_is_not_mistaken_for_a_slow_head(start_api: StartApi) -> None:
    client = start_api(API_HEAD_TIMEOUT_SECONDS="1", API_KEEP_ALIVE_SECONDS="1")
    with client.stream("GET", "/v1/stream") as answer:
        events = (line for line in answer.iter_lines() if line.startswith("event:"))
        assert [next(events) for _ in range(3)] == ["event: fleet"] * 3, "they come every two seconds"


async def test_a_connection_above_the_limit_gets_503_until_another_one_closes(start_api: StartApi) -> None:
    client = start_api(API_MAX_CONNECTIONS="4", API_HEAD_TIMEOUT_SECONDS="120")
    where = (client.base_url.host, client.base_url.port)
    held = [(await asyncio.open_connection(*where))[1] for _ in range(4)]

    async def refused() -> bytes:
        return await send(client, GET + b"\r\n")

    answer = await until(refused, "a connection is refused")
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: " in answer
    assert b"4 connections" in answer
    for writer in held:
        writer.close()

    async def accepted() -> bool:
        return (await send(client, GET + b"Connection: close\r\n\r\n")).startswith(b"HTTP/1.1 200 ")

    await until(accepted, "a connection is accepted again")
    assert 'energy_http_connections_refused_total{status="503"}' in client.get("/metrics").text


def test_pipelined_and_fragmented_requests_are_answered_in_order(start_api: StartApi) -> None:
    client = start_api(API_MAX_URL_BYTES="2048")
    last = GET + b"Connection: close\r\n\r\n"
    answer = asyncio.run(send(client, (GET + b"\r\n") * 20 + last))
    assert answer.count(b"HTTP/1.1 200 OK") == 21
    answer = asyncio.run(send(client, *[GET[:20], GET[20:] + b"X: y\r\n", b"Y: z\r\n\r\n" + last]))
    assert answer.count(b"HTTP/1.1 200 OK") == 2


def test_the_body_of_a_request_rejected_early_does_not_count_as_a_head(start_api: StartApi) -> None:
    client = start_api(API_MAX_URL_BYTES="2048")
    body = 100_000

    async def conversation() -> bytes:
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            writer.write(b"POST /nowhere HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n" % body)
            rejection = await reader.readuntil(b"\r\n\r\n")
            for part in (b"x" * (body - 1), b"x" + GET[:20], GET[20:] + b"Connection: close\r\n\r\n"):
                writer.write(part)
                await writer.drain()
            answer = rejection + await reader.read()
        writer.close()
        return answer

    answer = asyncio.run(conversation())
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert answer.count(b"HTTP/1.1 200 OK") == 1, answer


def test_trailers_and_chunk_extensions_are_bounded(start_api: StartApi) -> None:
    client = start_api()
    chunked = POST + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    for endless in (b"0\r\nX: ", b"5;x="):
        answer = asyncio.run(send(client, chunked + endless, *([b"a" * 65_536] * 64)))
        assert b"HTTP/1.1 200" not in answer
        assert answer.count(b"HTTP/1.1 ") <= 1, answer
    trailer = asyncio.run(
        send(
            client,
            b"GET /healthz HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n"
            + GET
            + b"Connection: close\r\n\r\n",
        )
    )
    assert trailer.count(b"HTTP/1.1 200 OK") == 2, "trailers are valid and ignored"


def test_thousands_of_pipelined_requests_close_the_connection(start_api: StartApi) -> None:
    client = start_api()
    answer = asyncio.run(send(client, (GET + b"\r\n") * 5000))
    assert answer.count(b"HTTP/1.1 200 OK") < 100
    assert client.get("/healthz").status_code == 200


def test_an_upgrade_is_ignored_and_the_bytes_after_it_are_not_read(start_api: StartApi) -> None:
    upgrade = GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n"
    answer = asyncio.run(send(start_api(), upgrade + GET + b"\r\n"))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1") == 1


def test_500_vehicle_ids_fit_into_a_url(start_api: StartApi) -> None:
    ids = [f"{number:03}-{'v' * 60}" for number in range(500)]
    answer = start_api().get("/v1/analytics/performance", params={"vehicleId": ids})
    assert answer.status_code == 200, answer.text
