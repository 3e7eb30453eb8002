"""uvicorn's HTTP protocol with limits on the number of connections and on the size and duration of request heads.

bytes -> uvicorn's parser -> head within the limits? -> uvicorn's request; otherwise one problem, and the connection is closed.
"""

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar, Final

import httptools
from prometheus_client import Counter
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.middleware.security_headers import Headers
from api.problems import MEDIA_TYPE, RETRY_AFTER_SECONDS, problem_body

LINGER_SECONDS: Final = 1.0
MAX_LINGERING: Final = 256
MAX_PIPELINED: Final = 64


class _HeadRejected(Exception):  # noqa: N818 - control flow, not an error
    """Stops the parser; the protocol's `_rejection` says why."""


@dataclass(slots=True)
class ConnectionLimits:
    """Limits and state that all connections share. Sizes are bytes, times seconds."""

    connections: int
    url_bytes: int
    headers: int
    header_bytes: int
    head_seconds: float
    response_headers: Headers
    refused: Counter
    lingering: int = 0


class LimitedHttpProtocol(HttpToolsProtocol):
    """One connection. `limits` is set by limited_protocol()."""

    limits: ClassVar[ConnectionLimits]

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._closing = False
        self._lingers = False
        self._in_head = True
        self._in_body = False
        self._head_bytes = 0  # of an incomplete head
        self._headers_bytes = 0
        self._overhead_bytes = 0  # received since the last byte of a body: trailers, chunk sizes, chunk extensions
        self._rejection = (400, "this is not HTTP/1.1")
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if len(self.connections) >= self.limits.connections:
            self.transport = transport
            self._reject(503, f"the limit of {self.limits.connections} connections is reached; try again later")
            return
        super().connection_made(transport)
        self._start_head_timer()

    def data_received(self, data: bytes) -> None:
        """Replaces uvicorn's method, which logs a warning for everything that is not HTTP."""
        if self._closing:
            return
        self._unset_keepalive_if_required()
        # After an early response the client may still send the body of that request, which is no head.
        if self._in_head or (self._idle() and not self._in_body):
            self._head_bytes += len(data)
        if self._in_body:
            self._overhead_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Upgrades are not supported: the request is answered as a plain one, and the bytes after it are not read.
            self.cycle.keep_alive = False
        except httptools.HttpParserError:
            self._reject(*self._rejection)
            return
        if self._in_head and self._head_bytes > self.limits.url_bytes + self.limits.header_bytes:
            self._reject(431, f"the headers of a request are limited to {self.limits.header_bytes} bytes")
        elif self._in_body and self._overhead_bytes > self.limits.header_bytes:
            self._reject(431, f"trailers and chunk extensions are limited to {self.limits.header_bytes} bytes")
        elif self._idle():
            self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        if self._lingers:
            self._lingers = False
            self.limits.lingering -= 1
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._headers_bytes = 0
        self._head_bytes = self._head_bytes or 1  # 0 when a pipelined head came with the end of the body before it

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > self.limits.url_bytes:
            self._stop_parsing(414, f"the URL of a request is limited to {self.limits.url_bytes} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called for trailers too, which count towards the limits and are otherwise ignored."""
        self._headers_bytes += len(name) + len(value) + 4
        if self._in_head:
            super().on_header(name, value)
        if len(self.headers) > self.limits.headers:
            self._stop_parsing(431, f"a request is limited to {self.limits.headers} headers")
        if self._headers_bytes > self.limits.header_bytes:
            self._stop_parsing(431, f"the headers of a request are limited to {self.limits.header_bytes} bytes")

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= MAX_PIPELINED:
            self._stop_parsing(400, f"at most {MAX_PIPELINED} requests may be pipelined")
        self._in_head = False
        self._in_body = True
        self._head_bytes = 0
        self._overhead_bytes = 0
        self._stop_head_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._overhead_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()

    def close_stalled(self) -> None:
        """Closes the connection without finishing its response."""
        if not self._idle():
            self._discard_response()
        self.transport.abort()

    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete  # type: ignore[redundant-expr]  # uvicorn's types omit None

    def _start_head_timer(self) -> None:
        """Starts with the connection, or with the first bytes after a response. Further bytes do not extend it."""
        if self._head_timer is None and not self.transport.is_closing():
            self._head_timer = self.loop.call_later(self.limits.head_seconds, self._head_timed_out)

    def _head_timed_out(self) -> None:
        self._head_timer = None
        if self._head_bytes:
            self._reject(408, f"the head of a request must be complete within {self.limits.head_seconds:g} s")
        else:
            self.transport.close()  # without an error: browsers open connections in advance

    def _stop_head_timer(self) -> None:
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_parsing(self, status: int, detail: str) -> None:
        self._rejection = (status, detail)
        raise _HeadRejected

    def _reject(self, status: int, detail: str) -> None:
        """Sends a problem and closes the connection. If another response is being sent, only closes the connection."""
        self._closing = True
        self._stop_head_timer()
        self.limits.refused.labels(status).inc()
        if not self._idle():
            replaces_response = self._can_still_respond()
            self._discard_response()
            if not replaces_response:
                self.transport.abort()
        if not self.transport.is_closing():
            self.transport.write(_response(status, detail, self.limits.response_headers))
            self._linger()

    def _discard_response(self) -> None:
        """Makes the application's request a disconnected one: uvicorn drops whatever it still sends."""
        self.cycle.disconnected = True
        self.cycle.message_event.set()

    def _can_still_respond(self) -> bool:
        """Whether the body of the current request is at fault and no response to it has started."""
        return not self._in_head and not self.pipeline and not self.cycle.response_started

    def _linger(self) -> None:
        """Keeps the connection open for a moment. Closing it with unread bytes would reset it, and the problem would be lost."""
        if self.limits.lingering >= MAX_LINGERING or not self.transport.can_write_eof():
            self.transport.close()
            return
        self._lingers = True
        self.limits.lingering += 1
        self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)


def limited_protocol(limits: ConnectionLimits) -> type[LimitedHttpProtocol]:
    """A protocol class with these limits, for uvicorn's option `http`."""
    return type("LimitedHttpProtocol", (LimitedHttpProtocol,), {"limits": limits})


def _response(status: int, detail: str, response_headers: Headers) -> bytes:
    body = problem_body(status, detail)
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        *response_headers,
    ]
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers.append((b"retry-after", RETRY_AFTER_SECONDS.encode()))
    line = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()
    return b"".join([line, *(b"%b: %b\r\n" % header for header in headers), b"\r\n", body])
