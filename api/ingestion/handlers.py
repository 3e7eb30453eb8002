"""An exchange -> its readings -> the gateway -> the answer. Refusals come as early as they can: before the body when possible."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

import msgspec

from api.auth.access import access_of, may_ingest
from api.ingestion.admission import Admission, Overloaded
from api.ingestion.batches import AGAIN, FORBIDDEN, INGESTED, INVALID, settle
from api.ingestion.metrics import GatewayMetrics, Outcome
from api.ingestion.parsing import METER, Kind, limits_now, media_type, read_all, split
from api.ingestion.producer import ReadingProducer
from api.ingestion.request import AGAIN_IN_SECONDS, JSON, IngestionRequest, Refusal
from api.problems import MEDIA_TYPE, UNREADABLE, Unavailable, field_problems
from api.settings import GatewaySettings
from schemas.records.readings import InvalidReading, Reading

BODY_LIMIT: Final = 64 * 1024  # a reading takes a few hundred bytes
OUTCOME_OF: Final[dict[int, Outcome]] = {
    INGESTED: "acknowledged",
    INVALID: "invalid",
    FORBIDDEN: "forbidden",
    AGAIN: "unavailable",
}
_encode: Final = msgspec.json.Encoder().encode


async def ingest_reading(exchange: IngestionRequest, kind: Kind) -> None:
    """201 once Kafka has the reading.

    Raises:
        Refusal: it was not taken.
        Gone: the client has.
    """
    state = exchange.scope["app"].state
    settings: GatewaySettings = state.settings
    gateway: ReadingProducer = state.gateway
    metrics: GatewayMetrics = state.gateway_metrics
    topic = _topic(settings, kind)
    try:
        gateway.check()
        body = await exchange.body_within(BODY_LIMIT, settings.ingestion_body_within_seconds, gateway.admission)
        reading = _valid(kind, body, settings.retention_days, metrics, topic)
        if not may_ingest(access_of(exchange), kind.device(reading)):
            metrics.count(topic, "forbidden")
            raise Refusal(403, f"this API key may not send readings of {kind.device(reading)}")
        await _acknowledged(gateway, reading)
    except (Unavailable, Overloaded) as refused:
        raise _refusal(refused, metrics, topic) from None
    finally:
        exchange.release(gateway.admission)
    metrics.count(topic, "acknowledged")
    await exchange.answer(201, _encode({"success": True, "message": kind.welcome(reading)}))


async def ingest_batch(exchange: IngestionRequest, kind: Kind) -> None:
    """200 when every reading of the batch is settled, 503 when some are to be sent again.

    Raises:
        Refusal: nothing of it was taken.
        Gone: the client has.
    """
    state = exchange.scope["app"].state
    settings: GatewaySettings = state.settings
    gateway: ReadingProducer = state.gateway
    metrics: GatewayMetrics = state.gateway_metrics
    topic = _topic(settings, kind)
    try:
        form = media_type(exchange.header(b"content-type"), exchange.header(b"content-encoding"))
        gateway.check()
        body = await exchange.body_within(
            settings.ingestion_batch_max_bytes, settings.ingestion_body_within_seconds, gateway.admission
        )
        items = split(body, form, settings.ingestion_batch_max_items)
        with _inside(gateway.admission, len(items)):
            read = await read_all(kind, items, limits_now(settings.retention_days))
            settled = await settle(gateway, kind, read, partial(may_ingest, access_of(exchange)))
    except (Unavailable, Overloaded) as refused:
        raise _refusal(refused, metrics, topic) from None
    finally:
        exchange.release(gateway.admission)
    for status, outcome in OUTCOME_OF.items():
        metrics.count(topic, outcome, settled.counts[status])
    if settled.status == AGAIN:
        again = [(b"retry-after", AGAIN_IN_SECONDS[AGAIN])]
        await exchange.answer(AGAIN, settled.content, MEDIA_TYPE.encode(), again)
    else:
        await exchange.answer(200, settled.content, JSON)


def _topic(settings: GatewaySettings, kind: Kind) -> str:
    return settings.kafka_meter_topic if kind is METER else settings.kafka_vehicle_topic


def _valid(kind: Kind, body: bytes, retention_days: int, metrics: GatewayMetrics, topic: str) -> Reading:
    try:
        return kind.read(body, limits_now(retention_days))
    except InvalidReading as invalid:
        metrics.count(topic, "invalid")
        status = 400 if invalid.reason in UNREADABLE else 422
        raise Refusal(status, str(invalid), field_problems(invalid)) from None


async def _acknowledged(gateway: ReadingProducer, reading: Reading) -> None:
    gateway.admission.enter(1)
    try:
        parcel = gateway.put(reading)
        await parcel.settled.wait()
    finally:
        gateway.admission.leave(1)
    if parcel.error is not None:
        raise Unavailable(parcel.error)


def _refusal(refused: Unavailable | Overloaded, metrics: GatewayMetrics, topic: str) -> Refusal:
    if isinstance(refused, Overloaded):
        metrics.count(topic, "overloaded")
        return Refusal(429, str(refused))
    metrics.count(topic, "unavailable")
    return Refusal(503, str(refused))


@contextmanager
def _inside(admission: Admission, readings: int) -> Iterator[None]:
    admission.enter(readings)
    try:
        yield
    finally:
        admission.leave(readings)
