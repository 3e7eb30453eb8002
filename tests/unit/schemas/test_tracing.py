"""The tracers: one that records nothing, and one that sends bounded facts."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import get_current_span
from pydantic import ValidationError

from api.app import create_gateway
from api.settings import GatewaySettings
from consumer.settings import ConsumerSettings
from schemas.config import extras
from schemas.tracing.opentelemetry_tracer import OpenTelemetryTracer
from schemas.tracing.settings import start_tracer
from schemas.tracing.tracer import MAX_LINKS, NO_TRACER
from tests.support.repository import ROOT

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
URL = "http://127.0.0.1:1/v1/traces"
IMPORTED = "import sys, {}.__main__; print([each for each in sys.modules if each.startswith('opentelemetry.sdk')])"


def context(number: int, flags: str = "01") -> bytes:
    return f"00-{TRACE}-{number:016x}-{flags}".encode()


class Recorded:
    """A tracer, and the spans that it has sent once it is closed."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.tracer = OpenTelemetryTracer("energy-test", URL, self._exporter)

    def spans(self) -> dict[str, ReadableSpan]:
        self.tracer.close()
        return {each.name: each for each in self._exporter.get_finished_spans()}


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    made = Recorded()
    yield made
    made.tracer.close()


def test_without_a_collector_there_is_no_tracer_and_no_header() -> None:
    assert start_tracer(ConsumerSettings(), "energy-consumer") is NO_TRACER
    disabled = ConsumerSettings(otel_exporter_otlp_endpoint="http://localhost:4318", otel_sdk_disabled=True)
    assert start_tracer(disabled, "energy-consumer") is NO_TRACER
    with NO_TRACER.span("outer", links=[context(1)]) as outer, NO_TRACER.span("inner") as inner:
        outer.set({"a": 1})
        inner.fail()
        assert (NO_TRACER.headers(), NO_TRACER.exemplar()) == ([], None)
    with pytest.raises(ValueError, match="as it was"), NO_TRACER.span("failing"):
        raise ValueError("as it was")
    NO_TRACER.close()


@pytest.mark.parametrize("process", ["consumer", "api", "sql", "deploy.simulator"])
def test_no_process_imports_the_sdk_before_it_is_asked_to(process: str) -> None:
    command = [sys.executable, "-c", IMPORTED.format(process)]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout == "[]\n"


def test_an_endpoint_is_completed_and_one_of_traces_is_taken_as_it_is() -> None:
    settings = ConsumerSettings(otel_exporter_otlp_endpoint="http://localhost:4318/")
    assert settings.traces_url == "http://localhost:4318/v1/traces"
    both = ConsumerSettings(
        otel_exporter_otlp_endpoint="http://localhost:4318", otel_exporter_otlp_traces_endpoint="http://other/v1"
    )
    assert both.traces_url == "http://other/v1"


def test_an_endpoint_needs_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None if "otlp" in name else find_spec(name))
    with pytest.raises(ValidationError, match=r"OTEL_EXPORTER_OTLP_ENDPOINT needs the extra `otel`: pip install"):
        ConsumerSettings(otel_exporter_otlp_endpoint="http://localhost:4318")
    assert (
        ConsumerSettings(otel_sdk_disabled=True, otel_exporter_otlp_endpoint="http://localhost:4318").traces_url is None
    )


def test_links_are_bounded_and_lead_to_sampled_producers_only(recorded: Recorded) -> None:
    with recorded.tracer.span("many", links=(context(number) for number in range(1, 1000))):
        pass
    hostile = [b"", b"\xff" * 55, b"x" * 100_000, b"00-" + b"0" * 52, context(0), context(1, flags="00"), context(2)]
    with recorded.tracer.span("hostile", links=hostile):
        pass
    spans = recorded.spans()
    assert [link.context.span_id for link in spans["many"].links] == list(range(1, MAX_LINKS + 1))
    assert [link.context.span_id for link in spans["hostile"].links] == [2]


def test_headers_are_those_of_the_open_span(recorded: Recorded) -> None:
    tracer = recorded.tracer
    assert (tracer.headers(), tracer.exemplar()) == ([], None)
    with tracer.span("request", parent={"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "vendor=1"}):
        outer = tracer.headers()
        assert tracer.headers() is outer, "thousands of records share them"
        with tracer.span("send"):
            inner, open_span = dict(tracer.headers()), get_current_span().get_span_context()
        assert tracer.headers() == outer
        assert tracer.exemplar() == {"trace_id": TRACE, "span_id": dict(outer)["traceparent"].decode().split("-")[2]}
    assert inner == {"traceparent": f"00-{TRACE}-{open_span.span_id:016x}-01".encode(), "tracestate": b"vendor=1"}
    assert tracer.headers() == []


def test_an_error_fails_its_span_without_its_message(recorded: Recorded) -> None:
    with pytest.raises(ValueError, match="METER-7"), recorded.tracer.span("write"):
        raise ValueError("of METER-7")
    span = recorded.spans()["write"]
    assert (span.status.is_ok, span.attributes, span.events) == (False, {"error.type": "ValueError"}, ())
    assert span.status.description is None


def test_the_environment_names_the_process_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "ours")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    made = Recorded()
    with made.tracer.span("work"):
        pass
    attributes = made.spans()["work"].resource.attributes
    assert (attributes["service.name"], attributes["deployment.environment.name"]) == ("ours", "test")
    assert attributes["service.instance.id"]


def test_unsampled_requests_leave_no_span_and_no_exemplar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    made = Recorded()
    with made.tracer.span("work"):
        assert made.tracer.exemplar() is None
        (flags,) = bytes.fromhex(dict(made.tracer.headers())["traceparent"].decode().split("-")[3])
        assert not flags & 1, "the consumer sees that there is no such span"
    assert made.spans() == {}


def test_a_collector_that_is_away_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    tracer = OpenTelemetryTracer("energy-test", URL)
    logger = logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    for _ in range(100):
        logger.warning("Transient error")
    assert [record.message for record in caplog.records if record.name == logger.name] == ["Transient error"]
    tracer.close()


@pytest.mark.anyio
async def test_spans_of_requests_hold_no_text_of_the_client(recorded: Recorded) -> None:
    app = create_gateway(GatewaySettings(api_open=True), recorded.tracer)
    await ask(app, "POST", "/v1/ingestion/meter?secret=1")
    await ask(app, "GET", "/healthz")
    await ask(app, "STEAL", "/nothing/METER-7", headers={"traceparent": "not one"})
    spans = recorded.spans()
    assert sorted(spans) == ["POST /v1/ingestion/meter", "_OTHER"]
    assert spans["POST /v1/ingestion/meter"].attributes == {
        "http.request.method": "POST",
        "http.response.status_code": 503,
        "http.route": "/v1/ingestion/meter",
    }
    assert not spans["POST /v1/ingestion/meter"].status.is_ok
    assert spans["_OTHER"].attributes == {"http.request.method": "_OTHER", "http.response.status_code": 404}


async def ask(app: FastAPI, method: str, path: str, headers: dict[str, str] | None = None) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
        await client.request(method, path, headers=headers)
