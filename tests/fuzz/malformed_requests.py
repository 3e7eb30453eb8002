"""Malformed HTTP requests as bytes, from a seeded generator, and the bytes that a server responds with."""

import contextlib
import random
import socket
from collections.abc import Callable
from typing import Final

GOOD_BODY: Final = b'{"meterId":"METER-001","kwhConsumedAc":1,"voltage":240,"timestamp":"2026-02-09T15:30:00Z"}'
PATHS: Final = [
    b"/v1/vehicles",
    b"/v1/vehicles/VEH-001",
    b"/v1/fleet/ranking?search=%00",
    b"/healthz",
    b"/v1/faults?after=\xff",
]
RESPONSE_TIMEOUT_SECONDS: Final = 1.0
Generator = Callable[[random.Random], list[bytes]]


def _get(path: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join([b"GET " + path + b" HTTP/1.1", b"Host: x", *headers, b"", b""])


def _post(body: bytes, *headers: bytes) -> bytes:
    head = [b"POST /v1/ingestion/meter HTTP/1.1", b"Host: x", b"Content-Type: application/json", *headers]
    return b"\r\n".join([*head, b"", body])


def _noise(dice: random.Random, most: int = 300) -> bytes:
    return dice.randbytes(dice.randint(1, most))


def wrong_length(dice: random.Random) -> list[bytes]:
    """A Content-Length that is too large, too small, repeated, negative or not a number."""
    length = dice.choice([b"0", b"5", b"9999", b"-1", b"x", b"1e3", b"99999999999999999999999", b"+10", b"10, 20"])
    more = [b"Content-Length: 3"] if dice.random() < 0.3 else []
    return [_post(GOOD_BODY, b"Content-Length: " + length, *more)]


def chunked_garbage(dice: random.Random) -> list[bytes]:
    """Invalid chunk sizes, chunks that stop, chunked encoding together with a Content-Length."""
    chunk = dice.choice(
        [b"zz\r\nab\r\n", b"ffffffffffffffffff\r\n", b"5\r\nab", b"-1\r\n\r\n", b"0\r\n", b"2;" + b"x" * 5000]
    )
    both = [b"Content-Length: 4"] if dice.random() < 0.3 else []
    return [_post(chunk + _noise(dice), b"Transfer-Encoding: chunked", *both)]


def huge_head(dice: random.Random) -> list[bytes]:
    """One long header, many short headers, or a long path."""
    return dice.choice(
        [
            [_get(b"/healthz", b"X: " + b"a" * dice.randint(60_000, 200_000))],
            [_get(b"/healthz", *(b"X-%d: y" % number for number in range(dice.randint(200, 3000))))],
            [_get(b"/v1/vehicles/" + b"v" * dice.randint(8_000, 100_000))],
        ]
    )


def nulls_and_bare_lines(dice: random.Random) -> list[bytes]:
    """NUL bytes, bare line feeds, folded lines, a header without a colon."""
    path = dice.choice(PATHS)
    broken = dice.choice([b"X: \x00", b"\x00: y", b"no colon", b" folded: y", b"X: a\nY: b", b": empty", b"X : y"])
    text = _get(path, broken)
    return [text.replace(b"\r\n", b"\n") if dice.random() < 0.5 else text]


def pipelined(dice: random.Random) -> list[bytes]:
    """Many requests at once, the last of them malformed."""
    return [b"".join(_get(dice.choice(PATHS[:4])) for _ in range(dice.randint(2, 20))) + _noise(dice, 40)]


def deep_pipeline(dice: random.Random) -> list[bytes]:
    """Thousands of requests without waiting for a response."""
    return [_get(dice.choice(PATHS[:4])) * dice.randint(1_000, 5_000)]


def endless_trailer(dice: random.Random) -> list[bytes]:
    """A complete body followed by an endless trailer, or a chunk with an endless extension."""
    end = dice.choice([b"0\r\nX: ", b"%x;x=" % len(GOOD_BODY)])
    return [_post(end, b"Transfer-Encoding: chunked"), *([b"a" * 65_536] * 32)]


def trickled(dice: random.Random) -> list[bytes]:
    """A request in small pieces that stops before its end."""
    text = _post(GOOD_BODY, b"Content-Length: %d" % len(GOOD_BODY))
    text = text[: dice.randint(1, len(text))]
    return [text[start : start + 20] for start in range(0, len(text), 20)]


def noise(dice: random.Random) -> list[bytes]:
    """Random bytes, alone or in place of a method, a path or a body."""
    line = _noise(dice, 60).replace(b"\r", b"").replace(b"\n", b"")
    body = _noise(dice)
    return [
        dice.choice(
            [
                _noise(dice, 3000),
                line + b" / HTTP/1.1\r\n\r\n",
                b"GET " + line + b" HTTP/1.1\r\nHost: x\r\n\r\n",
                b"GET / HTTP/" + line + b"\r\n\r\n",
                _post(body, b"Content-Length: %d" % len(body)),
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + _noise(dice),
                b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
                _get(b"/v1/stream", b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Key: " + line),
            ]
        )
    ]


GENERATORS: Final[tuple[Generator, ...]] = (
    wrong_length, chunked_garbage, huge_head, nulls_and_bare_lines, pipelined, deep_pipeline, endless_trailer, trickled, noise,
)  # fmt: skip


def exchange(address: tuple[str, int], parts: list[bytes], *, half_close: bool) -> bytes:
    """The bytes that a server responds with before it closes the connection or the response times out."""
    received = bytearray()
    with contextlib.suppress(OSError), socket.create_connection(address, timeout=10) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            client.sendall(part)
        if half_close:
            client.shutdown(socket.SHUT_WR)
        client.settimeout(RESPONSE_TIMEOUT_SECONDS if half_close else 0.05)
        while len(received) < 1 << 20 and (more := client.recv(65536)):
            received += more
    return bytes(received)


def malformed_request(dice: random.Random) -> tuple[str, list[bytes], bool]:
    """The name of a generator, the parts of its request, and whether the client then closes its sending side."""
    generator = dice.choice(GENERATORS)
    return generator.__name__, generator(dice), dice.random() < 0.7
