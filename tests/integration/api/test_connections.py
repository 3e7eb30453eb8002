"""The door for whoever speaks bad HTTP, slow HTTP, or too much of it: one answer, and the connection is closed."""

import asyncio
from pathlib import Path

import httpx
import pytest

from tests.support.responses import StartApi
from tests.support.waiting import until

pytestmark = pytest.mark.anyio
GET = b"GET /healthz HTTP/1.1\r\nHost: here\r\n"
POST = b"POST /v1/ingestion/meter HTTP/1.1\r\nHost: here\r\n"
PATIENCE = 30
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


async def tell(client: httpx.Client, *parts: bytes) -> bytes:
    """Everything that comes back until the service closes the connection."""
    reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        async with asyncio.timeout(PATIENCE):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


def said_nothing_of_its_insides(log: Path) -> None:
    told = log.read_text()
    assert "Traceback" not in told
    assert "request_failed" not in told


def test_what_is_no_request_gets_one_answer_and_is_shut_out(start_api: StartApi, tmp_path: Path) -> None:
    client = start_api()
    for sent, code in NOT_REQUESTS:
        answer = asyncio.run(tell(client, sent))
        head, _, content = answer.partition(b"\r\n\r\n")
        assert head.startswith(f"HTTP/1.1 {code} ".encode()), (sent[:100], answer[:300])
        assert answer.count(b"HTTP/1.1 ") == 1, sent[:100]
        assert f'"status": {code}'.encode() in content
        for header in (
            b"connection: close",
            b"x-content-type-options: nosniff",
            b"content-type: application/problem+json",
        ):
            assert header in head.lower(), sent[:100]
    assert client.get("/healthz").status_code == 200
    said_nothing_of_its_insides(tmp_path / "api.log")


def test_a_head_that_comes_slowly_is_not_waited_for(start_api: StartApi, tmp_path: Path) -> None:
    client = start_api(API_HEAD_TIMEOUT_SECONDS="2", API_KEEP_ALIVE_SECONDS="600")

    async def drip(drop: bytes, *, after: bytes, until_said: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writer.write(after)
        heard = await reader.readuntil(until_said) if until_said else b""
        reading = asyncio.create_task(reader.read())
        async with asyncio.timeout(PATIENCE):
            while not reading.done():
                writer.write(drop)
                await asyncio.wait({reading}, timeout=0.2)
        writer.close()
        try:
            return heard + await reading
        except ConnectionResetError:
            return heard

    async def all_at_once() -> tuple[bytes, ...]:
        return await asyncio.gather(
            drip(b"X: y\r\n", after=GET, until_said=b""),
            drip(b"G", after=b"", until_said=b""),
            drip(b"\r\n", after=b"", until_said=b""),
            drip(b"\r\n", after=GET + b"\r\n", until_said=b"ok"),
            drip(b"X: y\r\n", after=GET + b"\r\n" + GET, until_said=b"ok"),
        )

    header_by_header, *_, after_a_request, second_request = asyncio.run(all_at_once())
    assert header_by_header.startswith(b"HTTP/1.1 408 ")
    assert after_a_request.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 408 " in second_request
    assert client.get("/healthz").status_code == 200
    said_nothing_of_its_insides(tmp_path / "api.log")


def test_a_connection_on_which_nothing_is_asked_is_closed(start_api: StartApi) -> None:
    client = start_api(API_HEAD_TIMEOUT_SECONDS="1", API_KEEP_ALIVE_SECONDS="1")
    assert asyncio.run(tell(client)) == b"", "nothing was asked, and nothing is said"
    kept = asyncio.run(tell(client, GET + b"\r\n"))
    assert kept.startswith(b"HTTP/1.1 200 ")


def test_a_slow_stream_is_not_taken_for_a_slow_head(start_api: StartApi) -> None:
    client = start_api(API_HEAD_TIMEOUT_SECONDS="1", API_KEEP_ALIVE_SECONDS="1")
    with client.stream("GET", "/v1/stream") as answer:
        events = (line for line in answer.iter_lines() if line.startswith("event:"))
        assert [next(events) for _ in range(3)] == ["event: fleet"] * 3, "they come every two seconds"


async def test_one_connection_too_many_is_told_so_and_room_is_made_again(start_api: StartApi) -> None:
    client = start_api(API_MAX_CONNECTIONS="4", API_HEAD_TIMEOUT_SECONDS="120")
    where = (client.base_url.host, client.base_url.port)
    held = [(await asyncio.open_connection(*where))[1] for _ in range(4)]

    async def refused() -> bytes:
        return await tell(client, GET + b"\r\n")

    answer = await until(refused, "the service says that it is full")
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: " in answer
    assert b"4 connections" in answer
    for writer in held:
        writer.close()

    async def room() -> bool:
        return (await tell(client, GET + b"Connection: close\r\n\r\n")).startswith(b"HTTP/1.1 200 ")

    await until(room, "there is room again")
    assert 'energy_http_connections_refused_total{status="503"}' in client.get("/metrics").text


def test_requests_one_after_the_other_and_all_at_once_are_answered_in_order(start_api: StartApi) -> None:
    client = start_api(API_MAX_URL_BYTES="2048")
    last = GET + b"Connection: close\r\n\r\n"
    answer = asyncio.run(tell(client, (GET + b"\r\n") * 20 + last))
    assert answer.count(b"HTTP/1.1 200 OK") == 21
    answer = asyncio.run(tell(client, *[GET[:20], GET[20:] + b"X: y\r\n", b"Y: z\r\n\r\n" + last]))
    assert answer.count(b"HTTP/1.1 200 OK") == 2


def test_the_body_of_what_was_refused_early_is_not_counted_as_a_head(start_api: StartApi) -> None:
    client = start_api(API_MAX_URL_BYTES="2048")
    body = 100_000

    async def conversation() -> bytes:
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        async with asyncio.timeout(PATIENCE):
            writer.write(b"POST /nowhere HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n" % body)
            refusal = await reader.readuntil(b"\r\n\r\n")
            for part in (b"x" * (body - 1), b"x" + GET[:20], GET[20:] + b"Connection: close\r\n\r\n"):
                writer.write(part)
                await writer.drain()
            answer = refusal + await reader.read()
        writer.close()
        return answer

    answer = asyncio.run(conversation())
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert answer.count(b"HTTP/1.1 200 OK") == 1, answer


def test_what_stands_beside_a_body_is_bounded(start_api: StartApi) -> None:
    client = start_api()
    chunked = POST + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    for endless in (b"0\r\nX: ", b"5;x="):
        answer = asyncio.run(tell(client, chunked + endless, *([b"a" * 65_536] * 64)))
        assert b"HTTP/1.1 200" not in answer
        assert answer.count(b"HTTP/1.1 ") <= 1, answer
    trailer = asyncio.run(
        tell(
            client,
            b"GET /healthz HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n"
            + GET
            + b"Connection: close\r\n\r\n",
        )
    )
    assert trailer.count(b"HTTP/1.1 200 OK") == 2, "a trailer is not wrong, only not read"


def test_who_asks_thousands_of_things_without_waiting_is_shut_out(start_api: StartApi) -> None:
    client = start_api()
    answer = asyncio.run(tell(client, (GET + b"\r\n") * 5000))
    assert answer.count(b"HTTP/1.1 200 OK") < 100
    assert client.get("/healthz").status_code == 200


def test_nothing_is_upgraded_and_what_follows_is_not_taken_for_a_request(start_api: StartApi) -> None:
    upgrade = GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n"
    answer = asyncio.run(tell(start_api(), upgrade + GET + b"\r\n"))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1") == 1


def test_500_vehicles_fit_into_an_address(start_api: StartApi) -> None:
    ids = [f"{number:03}-{'v' * 60}" for number in range(500)]
    answer = start_api().get("/v1/analytics/performance", params={"vehicleId": ids})
    assert answer.status_code == 200, answer.text
