"""A tracer that sends its spans to a collector by OTLP over HTTP, with OpenTelemetry's SDK.

span ends -> queue of bounded length, which drops what does not fit -> thread of the SDK -> collector

Neither a span nor the process waits for the collector. The SDK reads the sampler, the limits of spans, the length of the queue,
and headers, certificates and time-outs of the exporter from variables that begin with OTEL_.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, format_span_id, format_trace_id
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from schemas.config.version import VERSION
from schemas.tracing.tracer import MAX_LINKS, TRACEPARENT, Attributes, Headers, Kind, Span, Tracer

CLOSE_SECONDS: Final = 2.0
TRACEPARENT_BYTES: Final = range(55, 513)
WARN_EVERY_SECONDS: Final = 60.0
_LOGGERS: Final = (trace_exporter.__name__, "opentelemetry.sdk._shared_internal")  # of attempts, of dropped spans
_KINDS: Final[dict[Kind, SpanKind]] = {
    "internal": SpanKind.INTERNAL,
    "server": SpanKind.SERVER,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}
_w3c: Final = TraceContextTextMapPropagator()


class OpenTelemetryTracer(Tracer):
    """Records spans and sends them in the background.

    Args:
        service: `service.name`, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES has another.
        url: where the collector takes traces.
        exporter: in place of the one for the URL.
    """

    def __init__(self, service: str, url: str, exporter: SpanExporter | None = None) -> None:
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(SeldomFilter())
        self._provider = TracerProvider(resource=_resource(service), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter(endpoint=url)))
        self._tracer = self._provider.get_tracer("energy-ingestion-engine", VERSION)
        self._headers: tuple[trace.Span | None, Headers] = None, []

    @contextmanager
    def span(
        self,
        name: str,
        kind: Kind = "internal",
        *,
        attributes: Attributes | None = None,
        parent: Mapping[str, str] | None = None,
        links: Iterable[bytes] = (),
        started: int | None = None,
    ) -> Iterator[Span]:
        """A span for the duration of a block."""
        span = self._tracer.start_span(
            name,
            context=None if parent is None else _w3c.extract(parent, Context()),
            kind=_KINDS[kind],
            attributes=attributes,
            links=list(_links(links)),
            start_time=started,
        )
        with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            recorded = _RecordedSpan(span)
            try:
                yield recorded
            except BaseException as error:  # without its message, which may quote what was sent
                recorded.set({"error.type": type(error).__name__})
                recorded.fail()
                raise

    def add_span(self, name: str, started: int, ended: int, attributes: Attributes | None = None) -> None:
        self._tracer.start_span(name, attributes=attributes, start_time=started).end(ended)

    def headers(self) -> Headers:
        """The headers of the W3C trace context. Thousands of readings of one request share them."""
        span = trace.get_current_span()
        of, headers = self._headers
        if of is not span:
            carrier: dict[str, str] = {}
            _w3c.inject(carrier)
            headers = [(name, value.encode()) for name, value in carrier.items()]
            self._headers = span, headers
        return headers

    def exemplar(self) -> dict[str, str] | None:
        context = trace.get_current_span().get_span_context()
        if not context.trace_flags.sampled:
            return None
        return {"trace_id": format_trace_id(context.trace_id), "span_id": format_span_id(context.span_id)}

    def close(self) -> None:
        """Send what is left, for at most CLOSE_SECONDS: the SDK itself would wait for an absent collector much longer."""
        closing = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)


class SeldomFilter(logging.Filter):
    """Passes a line a minute: the SDK logs every attempt to reach a collector, also while it is away for hours."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        passes = now >= self._next
        if passes:
            self._next = now + WARN_EVERY_SECONDS
        return passes


class _RecordedSpan(Span):
    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def set(self, attributes: Attributes) -> None:
        self._span.set_attributes(attributes)

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def fail(self) -> None:
        self._span.set_status(Status(StatusCode.ERROR))


def _resource(service: str) -> Resource:
    attributes = {
        "service.name": service,
        "service.version": VERSION,
        "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
    }
    return Resource.create(attributes | dict(OTELResourceDetector().detect().attributes))


def _links(contexts: Iterable[bytes]) -> Iterator[Link]:
    """Links to the sampled ones of the first contexts. Whatever a producer has put into the header, none raises."""
    for context in islice(contexts, MAX_LINKS):
        if len(context) in TRACEPARENT_BYTES:
            carrier = {TRACEPARENT: context.decode("latin-1")}
            linked = trace.get_current_span(_w3c.extract(carrier, Context())).get_span_context()
            if linked.is_valid and linked.trace_flags.sampled:
                yield Link(linked)
