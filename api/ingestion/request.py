"""One ingestion request and its response at the level of ASGI: body limits, deadlines, early rejections.

A request may be rejected before its body was read. The response is then followed by a short period in which the rest of the
body is read and discarded before the connection is closed. Closing at once would reset the connection, and the client would
lose the response.
"""

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any, Final

from fastapi import Request
from starlette.types import Message, Receive, Scope, Send

from api.ingestion.admission import Admission
from api.problems import MEDIA_TYPE, problem_body
from schemas.responses.base import FieldProblem

SMALL_BODY_SECONDS: Final = 0.02  # a small body arrives together with its headers
DISCARD_SECONDS: Final = 2.0
DISCARD_BYTES: Final = 8 * 1_048_576
RETRY_AFTER_SECONDS: Final = {429: b"1", 503: b"2"}
JSON: Final = b"application/json"


class RejectedRequest(Exception):  # noqa: N818 - the client's error, not ours
    """A request from which nothing was accepted, with the response to it."""

    def __init__(self, status: int, detail: str, errors: list[FieldProblem] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors


class ClientDisconnected(Exception):  # noqa: N818 - a normal event
    """The client closed the connection before it sent the whole body; no response can be sent."""


class IngestionRequest(Request):
    """A request whose body is bounded in size, time and memory, and which sends its own response."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(scope, receive, send)
        self._send_message = send
        self._is_complete = False  # whether the whole body has been read
        self._reserved_bytes = 0

    def header(self, name: bytes) -> bytes:
        """The value of a header, given its name in lower case; empty when the header is missing."""
        return next((value for key, value in self.scope["headers"] if key == name), b"")

    async def read_body(self, limit: int, seconds: float, admission: Admission) -> bytes:
        """The whole body. Its bytes stay reserved in `admission` until free_body().

        Raises:
            RejectedRequest: 413 above `limit` bytes, 408 after `seconds`.
            Overloaded: the memory for bodies is exhausted.
            ClientDisconnected: the connection was closed.
        """
        if (length := self.header(b"content-length")) and int(length) > limit:
            raise RejectedRequest(413, f"the body has {int(length)} bytes; at most {limit} are read")
        body = bytearray()
        try:
            async with asyncio.timeout(seconds):
                while not self._is_complete:
                    chunk = await self._next_chunk()
                    if len(body) + len(chunk) > limit:
                        raise RejectedRequest(413, f"the body is larger than the {limit} bytes that are read")
                    admission.reserve_bytes(len(chunk))
                    self._reserved_bytes += len(chunk)
                    body += chunk
        except TimeoutError:
            raise RejectedRequest(
                408, f"the body did not arrive within {seconds:g} s; send it faster, or send less at a time"
            ) from None
        return bytes(body)

    def free_body(self, admission: Admission) -> None:
        """Releases the bytes reserved for the body."""
        admission.free_bytes(self._reserved_bytes)
        self._reserved_bytes = 0

    async def respond(
        self,
        status: int,
        content: bytes,
        media_type: bytes = JSON,
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        """Sends the whole response and keeps the connection open."""
        await self._send_message(_response_start(status, content, media_type, headers))
        await self._send_message({"type": "http.response.body", "body": content})

    async def reject(self, rejection: RejectedRequest) -> None:
        """Responds with problem details. Closes the connection unless the whole body has arrived."""
        content = problem_body(rejection.status, rejection.detail, rejection.errors)
        retry_after = RETRY_AFTER_SECONDS.get(rejection.status)
        headers = [(b"retry-after", retry_after)] if retry_after else []
        if rejection.status not in (408, 413):
            await self._read_small_body()
        if self._is_complete:
            await self.respond(rejection.status, content, MEDIA_TYPE.encode(), headers)
            return
        await self._send_message(
            _response_start(rejection.status, content, MEDIA_TYPE.encode(), [*headers, (b"connection", b"close")])
        )
        await self._send_message({"type": "http.response.body", "body": content, "more_body": True})
        await self._discard_body()
        await self._send_message({"type": "http.response.body"})

    async def _next_chunk(self) -> bytes:
        message = await self.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        self._is_complete = not message.get("more_body", False)
        chunk: bytes = message.get("body", b"")
        return chunk

    async def _read_small_body(self) -> None:
        """Reads a body that has already arrived, so that the connection can stay open.

        A client that waits for `100 Continue` has sent no body.
        """
        if self._is_complete or self.header(b"expect"):
            return
        with contextlib.suppress(TimeoutError, ClientDisconnected):
            async with asyncio.timeout(SMALL_BODY_SECONDS):
                await self._next_chunk()

    async def _discard_body(self) -> None:
        remaining = DISCARD_BYTES
        with contextlib.suppress(TimeoutError, ClientDisconnected):
            async with asyncio.timeout(DISCARD_SECONDS):
                while not self._is_complete and remaining > 0:
                    remaining -= len(await self._next_chunk())


def _response_start(status: int, content: bytes, media_type: bytes, headers: Iterable[tuple[bytes, bytes]]) -> Message:
    fixed: list[Any] = [(b"content-type", media_type), (b"content-length", b"%d" % len(content))]
    return {"type": "http.response.start", "status": status, "headers": [*fixed, *headers]}
