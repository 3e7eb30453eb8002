"""Traces from the gateway's POST to the committed row, read from a collector of the test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from deploy.stack.ports import free_port
from deploy.stack.processes import Processes
from deploy.stack.servers import Servers
from schemas.config.version import VERSION
from tests.support.database import Database
from tests.support.ledger import Entry, Topics, ledger, until_consumed
from tests.support.records import meter, minute
from tests.support.responses import http_client
from tests.support.services import ConsumerGroup, ConsumerProcess, ingestion_service
from tests.support.topics import produce
from tests.support.traces.collector import Collector, ReceivedSpan, collector
from tests.support.waiting import until

pytestmark = pytest.mark.anyio
CLIENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SOON = {"OTEL_BSP_SCHEDULE_DELAY": "100"}  # milliseconds until a span is sent


@pytest.fixture
def traces() -> Iterator[Collector]:
    with collector() as collected:
        yield collected


async def exemplars(consumer: ConsumerProcess) -> set[str]:
    """The trace ids of the exemplars on the histogram of freshness."""
    async with http_client(await consumer.address()) as client:
        text = (await client.get("/metrics", headers={"Accept": "application/openmetrics-text"})).text
    return {
        sample.exemplar.labels["trace_id"]
        for family in text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
        if family.name == "energy_freshness_seconds"
        for sample in family.samples
        if sample.exemplar
    }


def assert_steps(traces: Collector, batch: ReceivedSpan) -> None:
    """The steps of a batch of one row, in their order, all of them within its span."""
    steps = sorted(traces.children(batch).values(), key=lambda step: step.started)
    assert [step.name for step in steps] == ["decode", "claim", "write", "commit"]
    assert (steps[0].started, steps[-1].ended <= batch.ended) == (batch.started, True)
    assert {name: each.attributes for name, each in traces.children(steps[2]).items()} == {"copy": {"energy.rows": 1}}


async def test_a_posted_reading_can_be_followed_to_the_commit_of_its_batch(
    database: Database,
    topics: Topics,
    group: ConsumerGroup,
    processes: Processes,
    environment: dict[str, str],
    tmp_path: Path,
    traces: Collector,
) -> None:
    tracing = SOON | {"OTEL_EXPORTER_OTLP_ENDPOINT": traces.url}
    consumer = group.start(**tracing)
    with ingestion_service(processes, environment | tracing, tmp_path) as gateway:

        async def ready() -> bool:
            return not gateway.get("/readyz").json()["waitingFor"]

        await until(ready, "the gateway is ready")
        content = meter(at=minute(0))
        response = gateway.post("/v1/ingestion/meter", content=content, headers={"traceparent": CLIENT})
        assert response.status_code == 201
        request = await traces.until_received("POST /v1/ingestion/meter")
    sent = await traces.until_received(f"send {topics.meter}")
    batch = await traces.until_received(f"process {topics.meter}")

    assert (request.trace_id, request.parent_id, request.kind) == (*CLIENT.split("-")[1:3], "server")
    assert request.attributes["http.response.status_code"] == 201
    assert request.resource["service.name"] == "energy-gateway"
    assert (sent.trace_id, sent.parent_id, sent.kind) == (request.trace_id, request.span_id, "producer")
    assert (batch.links, batch.parent_id, batch.kind) == ([(sent.trace_id, sent.span_id)], "", "consumer")
    assert batch.attributes["messaging.batch.message_count"] == batch.attributes["energy.records_written"] == 1
    assert (batch.resource["service.name"], batch.resource["service.version"]) == ("energy-consumer", VERSION)
    assert_steps(traces, batch)
    assert traces.named("GET /readyz") == []
    assert not any(each.failed for each in traces.spans)
    assert await exemplars(consumer) == {batch.trace_id}
    assert (await ledger(database, topics))[topics.meter] == Entry(1, 1, 0, 0)
    assert group.stop(consumer) == 0


async def test_a_collector_that_is_away_holds_up_neither_batches_nor_the_end(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup
) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    consumer = group.start(
        OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_BSP_MAX_QUEUE_SIZE="8", **SOON, OTEL_BSP_MAX_EXPORT_BATCH_SIZE="8"
    )
    for number in range(20):  # each is a batch with six spans: far more than the queue takes
        await produce(stack.kafka_bootstrap_servers, topics.meter, [meter(at=minute(number))], partition=0)
        await until_consumed(database, topics.meter, number + 1)
    assert await consumer.blocked_by() == {}
    assert group.stop(consumer) == 0
    assert (await ledger(database, topics))[topics.meter] == Entry(20, 20, 0, 0)
