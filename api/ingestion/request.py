"""One request and its answer, close to the wire: bodies with a limit and a deadline, refusals that reach the client.

A refusal may come before the body was read. The answer is then followed by a short time in which what the client still sends is
read and thrown away, and only then is the connection closed: closed at once, it would be reset, and the answer lost with it.
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

PEEK_SECONDS: Final = 0.02  # a small body has come together with its headers
DRAIN_SECONDS: Final = 2.0
DRAIN_BYTES: Final = 8 * 1_048_576
AGAIN_IN_SECONDS: Final = {429: b"1", 503: b"2"}
JSON: Final = b"application/json"


class Refusal(Exception):  # noqa: N818 - a verdict on the request, not a failure of ours
    """The answer to a request of which nothing was taken."""

    def __init__(self, status: int, detail: str, errors: list[FieldProblem] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors


class ClientDisconnected(Exception):  # noqa: N818 - nothing is wrong here
    """The client has closed the connection; there is nobody to answer."""


class IngestionRequest(Request):
    """A request, and the way back."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(scope, receive, send)
        self._way_back = send
        self._whole = False  # whether all of the body has been read
        self.held = 0

    def header(self, name: bytes) -> bytes:
        """Its value, or nothing."""
        return next((value for key, value in self.scope["headers"] if key == name), b"")

    async def body_within(self, limit: int, seconds: float, admission: Admission) -> bytes:
        """The body; what it takes is held in `admission` until `release`.

        Raises:
            Refusal: 413 above `limit` bytes, 408 after `seconds`.
            Overloaded: no room for it.
            Gone: the client has.
        """
        if (length := self.header(b"content-length")) and int(length) > limit:
            raise Refusal(413, f"the body has {int(length)} bytes; at most {limit} are read")
        parts = bytearray()
        try:
            async with asyncio.timeout(seconds):
                while not self._whole:
                    part = await self._next_part()
                    if len(parts) + len(part) > limit:
                        raise Refusal(413, f"the body is larger than the {limit} bytes that are read")
                    admission.hold(len(part))
                    self.held += len(part)
                    parts += part
        except TimeoutError:
            raise Refusal(
                408, f"the body has not arrived within {seconds:g} s; send it faster, or less of it"
            ) from None
        return bytes(parts)

    def release(self, admission: Admission) -> None:
        """Nothing of the body is kept any more."""
        admission.release(self.held)
        self.held = 0

    async def answer(
        self,
        status: int,
        content: bytes,
        media_type: bytes = JSON,
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        """Send the whole answer; the connection stays."""
        await self._way_back(_start(status, content, media_type, headers))
        await self._way_back({"type": "http.response.body", "body": content})

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with a problem. The connection stays when the whole body is here, and is closed when it is not."""
        content = problem_body(refusal.status, refusal.detail, refusal.errors)
        again = AGAIN_IN_SECONDS.get(refusal.status)
        headers = [(b"retry-after", again)] if again else []
        if refusal.status not in (408, 413):
            await self._peek()
        if self._whole:
            await self.answer(refusal.status, content, MEDIA_TYPE.encode(), headers)
            return
        await self._way_back(
            _start(refusal.status, content, MEDIA_TYPE.encode(), [*headers, (b"connection", b"close")])
        )
        await self._way_back({"type": "http.response.body", "body": content, "more_body": True})
        await self._drain()
        await self._way_back({"type": "http.response.body"})

    async def _next_part(self) -> bytes:
        message = await self.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        self._whole = not message.get("more_body", False)
        part: bytes = message.get("body", b"")
        return part

    async def _peek(self) -> None:
        """A body that is here already needs no closed connection. Who waits for `100 Continue` has not sent any."""
        if self._whole or self.header(b"expect"):
            return
        with contextlib.suppress(TimeoutError, ClientDisconnected):
            async with asyncio.timeout(PEEK_SECONDS):
                await self._next_part()

    async def _drain(self) -> None:
        left = DRAIN_BYTES
        with contextlib.suppress(TimeoutError, ClientDisconnected):
            async with asyncio.timeout(DRAIN_SECONDS):
                while not self._whole and left > 0:
                    left -= len(await self._next_part())


def _start(status: int, content: bytes, media_type: bytes, headers: Iterable[tuple[bytes, bytes]]) -> Message:
    fixed: list[Any] = [(b"content-type", media_type), (b"content-length", b"%d" % len(content))]
    return {"type": "http.response.start", "status": status, "headers": [*fixed, *headers]}
