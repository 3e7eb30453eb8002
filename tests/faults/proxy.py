"""A TCP proxy between a consumer and PostgreSQL that cuts a connection before or after COMMIT, or delays every answer."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Final
from urllib.parse import urlsplit, urlunsplit

COMMIT: Final = b"COMMIT;"


class Cut(Enum):
    """When to cut a connection, once: before COMMIT reaches the server, or after it, before the answer reaches the client."""

    BEFORE_COMMIT = "before"
    AFTER_COMMIT = "after"


class Proxy:
    """Forwards all traffic to the server of `url`; after start the attribute `url` is the address of the proxy.

    `delay_seconds` is how long each answer of the server is held back.
    """

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._server: asyncio.Server | None = None
        self._cut: Cut | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.cuts = 0
        self.delay_seconds = 0.0
        self.url = ""

    async def __aenter__(self) -> "Proxy":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        user = self._target.netloc.rpartition("@")[0]
        self.url = urlunsplit(self._target._replace(netloc=f"{user}@127.0.0.1:{port}"))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server:
            self._server.close()
        self.cut_all()

    def cut_next_commit(self, when: Cut) -> None:
        """Cut the next connection that sends COMMIT."""
        self._cut = when

    def cut_all(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(self._target.hostname, self._target.port)
        ends = {to_client, to_server}
        self._open |= ends

        async def forward_request(data: bytes) -> bool:
            if self._cut is None or COMMIT not in data:
                to_server.write(data)
                await to_server.drain()
                return True
            when, self._cut = self._cut, None
            self.cuts += 1
            if when is Cut.AFTER_COMMIT:
                to_client.transport.abort()  # before COMMIT is forwarded, so that no answer reaches the client
                to_server.write(data)
                await to_server.drain()
            return False

        async def forward_answer(data: bytes) -> bool:
            await asyncio.sleep(self.delay_seconds)
            to_client.write(data)
            await to_client.drain()
            return True

        with contextlib.suppress(OSError):
            both = [_pump(from_client, forward_request), _pump(from_server, forward_answer)]
            tasks = [asyncio.create_task(each) for each in both]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
        self._open -= ends
        to_client.close()
        to_server.close()


async def _pump(reader: asyncio.StreamReader, forward: Callable[[bytes], Awaitable[bool]]) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            if not await forward(data):
                return
