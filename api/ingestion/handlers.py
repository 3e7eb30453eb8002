"""Ingestion of one reading or a batch, from the request to the response.

request -> check -> read the body -> parse -> admit -> produce -> acknowledged by Kafka -> response

A request is rejected as early as possible: before its body is read when Kafka is unavailable or a bound is reached.
"""

from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec

from api.auth.access import access_of, may_ingest
from api.ingestion.batches import FORBIDDEN, INGESTED, INVALID, SEND_AGAIN, produce_all
from api.ingestion.metrics import GatewayMetrics, Outcome
from api.ingestion.parsing import METER, ReadingType, batch_media_type, parse_all, split_batch, time_limits
from api.ingestion.producer import ReadingProducer
from api.ingestion.request import JSON, RETRY_AFTER_SECONDS, IngestionRequest, RejectedRequest
from api.problems import MEDIA_TYPE, UNREADABLE, Overloaded, Unavailable, field_problems
from api.settings import GatewaySettings
from schemas.records.readings import InvalidReading, Reading
from schemas.tracing.tracer import Span

READING_MAX_BYTES: Final = 64 * 1024  # a reading takes a few hundred bytes
OUTCOME_OF_STATUS: Final[dict[int, Outcome]] = {
    INGESTED: "acknowledged",
    INVALID: "invalid",
    FORBIDDEN: "forbidden",
    SEND_AGAIN: "unavailable",
}
_encode: Final = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Ingestion:
    """A request in progress, with what is needed to handle it."""

    request: IngestionRequest
    reading_type: ReadingType
    topic: str
    settings: GatewaySettings
    producer: ReadingProducer
    metrics: GatewayMetrics

    def read_body(self, limit: int) -> Awaitable[bytes]:
        seconds = self.settings.ingestion_body_within_seconds
        return self.request.read_body(limit, seconds, self.producer.admission)

    def sending(self) -> AbstractContextManager[Span]:
        """The span of sending readings; ends when Kafka has acknowledged them. Their records carry its trace context."""
        attributes = {
            "messaging.system": "kafka",
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.destination.name": self.topic,
        }
        return self.producer.tracer.span(f"send {self.topic}", "producer", attributes=attributes)


class Response(NamedTuple):
    status: int
    content: bytes
    media_type: bytes = JSON
    headers: Iterable[tuple[bytes, bytes]] = ()


async def handle(
    request: IngestionRequest, reading_type: ReadingType, ingest: Callable[[Ingestion], Awaitable[Response]]
) -> None:
    """Handles a request with `ingest_reading` or `ingest_batch`, and sends the response.

    Raises:
        RejectedRequest: no reading of the request was accepted.
        ClientDisconnected: the client closed the connection.
    """
    state: Any = request.scope["app"].state
    settings, producer, metrics = state.settings, state.producer, state.gateway_metrics
    (topic, *_) = settings.meter_topics if reading_type is METER else settings.vehicle_topics
    try:
        response = await ingest(Ingestion(request, reading_type, topic, settings, producer, metrics))
    except Overloaded as error:
        metrics.count(topic, "overloaded")
        raise RejectedRequest(429, str(error)) from None
    except Unavailable as error:
        metrics.count(topic, "unavailable")
        raise RejectedRequest(503, str(error)) from None
    finally:
        request.free_body(producer.admission)
    await request.respond(response.status, response.content, response.media_type, response.headers)


async def ingest_reading(ingestion: Ingestion) -> Response:
    """201 once Kafka has acknowledged the reading."""
    ingestion.producer.check()
    reading = _parse(ingestion, await ingestion.read_body(READING_MAX_BYTES))
    device_id = ingestion.reading_type.device_id(reading)
    if not may_ingest(access_of(ingestion.request), device_id):
        ingestion.metrics.count(ingestion.topic, "forbidden")
        raise RejectedRequest(403, f"this API key may not send readings of {device_id}")
    admission = ingestion.producer.admission
    admission.acquire(1)
    try:
        with ingestion.sending():
            batch = ingestion.producer.send(reading)
            await batch.completed.wait()
    finally:
        admission.release(1)
    if batch.error is not None:
        raise Unavailable(batch.error)
    ingestion.metrics.count(ingestion.topic, "acknowledged")
    return Response(201, _encode({"success": True, "message": ingestion.reading_type.acknowledgement(reading)}))


def _parse(ingestion: Ingestion, body: bytes) -> Reading:
    try:
        return ingestion.reading_type.parse(body, time_limits(ingestion.settings.retention_days))
    except InvalidReading as error:
        ingestion.metrics.count(ingestion.topic, "invalid")
        status = 400 if error.reason in UNREADABLE else 422
        raise RejectedRequest(status, str(error), field_problems(error)) from None


async def ingest_batch(ingestion: Ingestion) -> Response:
    """200 when no reading of the batch has to be sent again, else 503."""
    request, settings = ingestion.request, ingestion.settings
    media_type = batch_media_type(request.header(b"content-type"), request.header(b"content-encoding"))
    ingestion.producer.check()
    body = await ingestion.read_body(settings.ingestion_batch_max_bytes)
    items = split_batch(body, media_type, settings.ingestion_batch_max_items)
    admission = ingestion.producer.admission
    admission.acquire(len(items))
    try:
        readings = await parse_all(ingestion.reading_type, items, time_limits(settings.retention_days))
        may_send = partial(may_ingest, access_of(request))
        with ingestion.sending():
            outcome = await produce_all(ingestion.producer, ingestion.reading_type, readings, may_send)
    finally:
        admission.release(len(items))
    for status, name in OUTCOME_OF_STATUS.items():
        ingestion.metrics.count(ingestion.topic, name, outcome.counts[status])
    if outcome.status == SEND_AGAIN:
        retry_after = [(b"retry-after", RETRY_AFTER_SECONDS[SEND_AGAIN])]
        return Response(SEND_AGAIN, outcome.content, MEDIA_TYPE.encode(), retry_after)
    return Response(200, outcome.content)
