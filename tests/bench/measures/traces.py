"""Rate at which a backlog drains without traces, with traces, and while their collector is away, in turn."""

import secrets
from collections.abc import Iterator
from typing import Final

from deploy.stack.ports import free_port
from schemas.tracing.tracer import TRACEPARENT, Headers, Tracer
from tests.bench.instruments.drain_run import drain_backlog
from tests.bench.instruments.results import Result, with_medians
from tests.bench.setup.backlog import Backlog, produce_backlog
from tests.bench.setup.harness import Harness
from tests.support.traces.collector import Collector, collector

MINUTES: Final = 60  # 1.2 million records of 20,000 devices
RECORDS_PER_CONTEXT: Final = 100


class NewContexts(Tracer):
    """Gives each portion of records a trace context of its own."""

    def headers(self) -> Headers:
        return [(TRACEPARENT, f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01".encode())]


def measure(harness: Harness) -> Iterator[Result]:
    """Records a second and CPU time a record; the ratio is to the drain without traces of the same run."""
    minutes = harness.scaled(MINUTES, minimum=2)
    backlog = produce_backlog(harness, minutes, tracer=NewContexts(), portion=RECORDS_PER_CONTEXT)
    with collector() as collected:
        yield from with_medians(
            result for run in range(1, harness.runs + 1) for result in _drain_each(harness, backlog, collected, run)
        )


def _drain_each(harness: Harness, backlog: Backlog, collected: Collector, run: int) -> Iterator[Result]:
    """One drain of each kind, in reverse order in every second run."""
    endpoints = {"off": "", "on": collected.url, "away": f"http://127.0.0.1:{free_port()}"}
    rates: dict[str, tuple[float, dict[str, float]]] = {}
    for traces in endpoints if run % 2 else reversed(endpoints):
        collected.spans.clear()
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoints[traces]}
        with harness.empty_database() as database:
            drained = drain_backlog(harness, backlog, database, settings=settings)
        rates[traces] = drained.rate, drained.cpu
        linked = sum(len(each.links) for each in collected.spans)
        if (linked > 0) != (traces == "on"):
            raise RuntimeError(f"traces {traces}: {len(collected.spans)} spans with {linked} links have arrived")
        harness.log_progress(f"traces {traces}, run {run}: {drained.rate:,.0f} records/s, {linked} links")
    for traces, (rate, cpu) in rates.items():
        yield Result(
            measure=f"drain_traces_{traces}",
            value=round(rate),
            unit="records/s",
            ratio=round(rate / rates["off"][0], 4),
            run=run,
            details=cpu,
        )
