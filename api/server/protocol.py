"""A connection, with limits that uvicorn has not: how many there are, how long and how large the head of a request may be.

bytes -> uvicorn's parser -> head within its limits? -> uvicorn's request; else one problem, and the connection is closed.
"""

import asyncio
import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar, Final

import httptools
from prometheus_client import Counter
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.middleware.security_headers import Headers
from api.problems import MEDIA_TYPE, RETRY_AFTER_SECONDS, TITLES

LINGER_SECONDS: Final = 1.0
LINGERING_AT_MOST: Final = 256
WAITING_AT_MOST: Final = 64


class _HeadRefused(Exception):  # noqa: N818 - an answer
    """Stops the parser; what is wrong stands in the protocol."""


@dataclass(slots=True)
class ConnectionLimits:
    """What all connections share. Sizes are bytes, times seconds."""

    connections: int
    url_bytes: int
    headers: int
    header_bytes: int
    head_seconds: float
    protection: Headers
    refused: Counter
    lingering: int = 0


class LimitedHttpProtocol(HttpToolsProtocol):
    """One connection."""

    bounds: ClassVar[ConnectionLimits]

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._closing = False
        self._lingers = False
        self._in_head = True
        self._in_body = False
        self._head_bytes = 0  # of a head that is not complete yet
        self._headers_bytes = 0
        self._beside_bytes = 0  # since the last byte of a body: trailers, chunks' sizes and extensions
        self._refusal = (400, "this is not HTTP/1.1")
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A new connection: taken, or told that there are too many."""
        if len(self.connections) >= self.bounds.connections:
            self.transport = transport
            self._refuse(503, f"there are {self.bounds.connections} connections already; come back later")
            return
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Some bytes more. As uvicorn does, without its log line for everything that is not HTTP."""
        if self._closing:
            return
        self._unset_keepalive_if_required()
        if self._in_head or (self._idle() and not self._in_body):  # what was refused early may still send its body
            self._head_bytes += len(data)
        if self._in_body:
            self._beside_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.cycle.keep_alive = (
                False  # nothing is upgraded here: answered as a plain request, and what follows is not read
            )
        except httptools.HttpParserError:
            self._refuse(*self._refusal)
            return
        if self._in_head and self._head_bytes > self.bounds.url_bytes + self.bounds.header_bytes:
            self._refuse(431, f"the head of a request may take {self.bounds.header_bytes} bytes beside its address")
        elif self._in_body and self._beside_bytes > self.bounds.header_bytes:
            self._refuse(431, f"what stands beside a body may take {self.bounds.header_bytes} bytes")
        elif self._idle():
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._stop_head_timer()
        if self._lingers:
            self._lingers = False
            self.bounds.lingering -= 1
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._in_head = True
        self._headers_bytes = 0
        self._head_bytes = self._head_bytes or 1  # at least: the end of the request before may stand in the same bytes

    def on_url(self, url: bytes) -> None:
        """A part of its address."""
        super().on_url(url)
        if len(self.url) > self.bounds.url_bytes:
            self._stop(414, f"the address of a request may take {self.bounds.url_bytes} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; or one trailer, which nobody here reads."""
        self._headers_bytes += len(name) + len(value) + 4
        if self._in_head:
            super().on_header(name, value)
        if len(self.headers) > self.bounds.headers:
            self._stop(431, f"a request may have {self.bounds.headers} headers")
        if self._headers_bytes > self.bounds.header_bytes:
            self._stop(431, f"the headers of a request may take {self.bounds.header_bytes} bytes")

    def on_headers_complete(self) -> None:
        """The head is complete."""
        if len(self.pipeline) >= WAITING_AT_MOST:
            self._stop(400, f"at most {WAITING_AT_MOST} requests may wait for the one before them")
        self._in_head = False
        self._in_body = True
        self._head_bytes = 0
        self._beside_bytes = 0
        self._stop_head_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._beside_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The body is complete, if there was one."""
        self._in_body = False
        super().on_message_complete()

    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete  # type: ignore[redundant-expr]  # uvicorn leaves None out

    def _expect_head(self) -> None:
        """From the first byte of a connection, or from the first after an answer. More bytes do not prolong it."""
        if self._head_timer is None and not self.transport.is_closing():
            self._head_timer = self.loop.call_later(self.bounds.head_seconds, self._head_is_late)

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._head_bytes:
            self._refuse(408, f"the head of a request must be complete within {self.bounds.head_seconds:g} s")
        else:
            self.transport.close()  # nothing was asked: browsers open connections in advance

    def _stop_head_timer(self) -> None:
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop(self, status: int, detail: str) -> None:
        self._refusal = (status, detail)
        raise _HeadRefused

    def _refuse(self, status: int, detail: str) -> None:
        """One answer, and then the end; just the end where another answer is under way."""
        self._closing = True
        self._stop_head_timer()
        self.bounds.refused.labels(status).inc()
        if not self._idle():
            abandoned = self._may_still_answer()
            self._abandon()
            if not abandoned:
                self.transport.abort()
        if not self.transport.is_closing():
            self.transport.write(_raw_problem(status, detail, self.bounds.protection))
            self._linger()

    def _abandon(self) -> None:
        """What the route says later is not sent."""
        self.cycle.disconnected = True
        self.cycle.message_event.set()

    def cut_off(self) -> None:
        """The end, without an answer."""
        if not self._idle():
            self._abandon()
        self.transport.abort()

    def _may_still_answer(self) -> bool:
        """Whether it is the body of the request under way that is broken, and nothing was said about it yet."""
        return not self._in_head and not self.pipeline and not self.cycle.response_started

    def _linger(self) -> None:
        """Closed at once, with bytes not read yet, the answer would be lost to a reset."""
        if self.bounds.lingering >= LINGERING_AT_MOST or not self.transport.can_write_eof():
            self.transport.close()
            return
        self._lingers = True
        self.bounds.lingering += 1
        self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)


def limited_protocol(bounds: ConnectionLimits) -> type[LimitedHttpProtocol]:
    """The protocol for uvicorn, with these bounds."""
    return type("BoundedProtocol", (LimitedHttpProtocol,), {"bounds": bounds})


def _raw_problem(status: int, detail: str, protection: Headers) -> bytes:
    body = json.dumps({"type": "about:blank", "title": TITLES[status], "status": status, "detail": detail}).encode()
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        *protection,
    ]
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers.append((b"retry-after", RETRY_AFTER_SECONDS.encode()))
    line = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()
    return b"".join([line, *(b"%b: %b\r\n" % header for header in headers), b"\r\n", body])
