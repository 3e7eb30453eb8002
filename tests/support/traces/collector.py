"""A collector of traces: takes OTLP over HTTP, as OpenTelemetry's protocol describes it, and keeps the spans."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.support.waiting import until


@dataclass(frozen=True, slots=True)
class ReceivedSpan:
    """A span as it arrived; `links` are pairs of trace id and span id, `resource` describes its process."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    links: list[tuple[str, str]]
    started: int
    ended: int
    attributes: dict[str, Any]
    failed: bool
    resource: dict[str, Any]


class Collector:
    """Spans in the order of their arrival."""

    def __init__(self) -> None:
        self.spans: list[ReceivedSpan] = []
        self.url = ""

    def named(self, name: str) -> list[ReceivedSpan]:
        return [each for each in self.spans if each.name == name]

    async def until_received(self, name: str) -> ReceivedSpan:
        """Waits for a span of this name and returns the first one."""

        async def received() -> list[ReceivedSpan]:
            return self.named(name)

        found = await until(received, lambda: f"a span {name}; of others {sorted({each.name for each in self.spans})}")
        return found[0]

    def children(self, parent: ReceivedSpan) -> dict[str, ReceivedSpan]:
        """The children of a span by their names."""
        return {each.name: each for each in self.spans if each.parent_id == parent.span_id}

    def receive(self, content: bytes) -> None:
        for group in ExportTraceServiceRequest.FromString(content).resource_spans:
            resource = _values(group.resource.attributes)
            for scope in group.scope_spans:
                self.spans.extend(_received(span, resource) for span in scope.spans)


def _received(span: Span, resource: dict[str, Any]) -> ReceivedSpan:
    return ReceivedSpan(
        name=span.name,
        kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        started=span.start_time_unix_nano,
        ended=span.end_time_unix_nano,
        attributes=_values(span.attributes),
        failed=span.status.code == Status.STATUS_CODE_ERROR,
        resource=resource,
    )


def _values(attributes: Any) -> dict[str, Any]:
    pairs: list[KeyValue] = list(attributes)
    return {each.key: getattr(each.value, each.value.WhichOneof("value") or "string_value") for each in pairs}


@contextmanager
def collector() -> Iterator[Collector]:
    """A collector that listens until the block ends."""
    collected = Collector()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            assert (self.path, self.headers["Content-Type"]) == ("/v1/traces", "application/x-protobuf")
            collected.receive(content)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collected.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield collected
    finally:
        server.shutdown()
        server.server_close()
