"""The gateway's routes: one reading a request or many, answered once Kafka has them. `api.ingestion.fast_path` leads to them."""

from typing import Any, Final

import msgspec
from fastapi import APIRouter, status

from api.ingestion.fast_path import Endpoint
from api.ingestion.handlers import ingest_batch, ingest_reading
from api.ingestion.parsing import JSON_ARRAY, METER, NDJSON, VEHICLE, Kind
from api.ingestion.request import IngestionRequest
from api.problems import MEDIA_TYPE, documented
from schemas.records.readings import example
from schemas.responses.base import Ingested
from schemas.responses.ingestion import BatchProblem, BatchResponse

router = APIRouter(prefix="/v1/ingestion", tags=["ingestion"])


def _one(kind: Kind) -> dict[str, Any]:
    """The body of a single reading for OpenAPI; it is decoded as the consumer decodes records, not by FastAPI."""
    content = {JSON_ARRAY: {"schema": _schema(kind), "example": example(kind.reading)}}
    return {"requestBody": {"required": True, "content": content}}


def _many(kind: Kind) -> dict[str, Any]:
    """The two bodies of a batch. An item that does not match the schema is answered as such, its neighbours are taken."""
    one = example(kind.reading)
    other = {"description": "anything else is answered with 422, and its neighbours are taken"}
    lines = (msgspec.json.encode(one) + b"\n").decode() * 2
    content = {
        JSON_ARRAY: {"schema": {"type": "array", "items": {"anyOf": [_schema(kind), other]}}, "example": [one]},
        NDJSON: {"schema": {"description": "a reading a line"}, "example": lines},  # whatever is sent is text
    }
    return {"requestBody": {"required": True, "content": content}}


def _schema(kind: Kind) -> dict[str, Any]:
    _, components = msgspec.json.schema_components([kind.reading])
    schema: dict[str, Any] = components[kind.reading.__name__]
    return schema


def _batch_problem() -> dict[str, Any]:
    schema = BatchProblem.model_json_schema(by_alias=True, ref_template="#/components/schemas/{model}")
    schema.pop("$defs")  # they are those of BatchResponse, which FastAPI puts where these refer to
    return schema


SINGLE: Final[dict[str, Any]] = {
    "status_code": status.HTTP_201_CREATED,
    "response_model": Ingested,
    "responses": documented(400, 408, 413, 422, 429, 503),
}
BATCH: Final[dict[str, Any]] = {
    "response_model": BatchResponse,
    "responses": {
        **documented(400, 408, 413, 415, 429),
        503: {
            "description": "Some readings, or all of them, are to be sent again",
            "content": {MEDIA_TYPE: {"schema": _batch_problem()}},
        },
    },
}
BATCH_TEXT: Final = """A JSON array, or a reading a line (NDJSON). Each is settled on its own, as `items` says in their order: 201
Kafka has it, 422 it is not valid, 403 its device is not this API key's, 503 send it again.

**200: nothing is to be sent again. 503: send the readings in `sendAgain` again, or, without `sendAgain`, the whole batch.** Any
other status: nothing of the batch was taken.

A reading is identified by its device and its timestamp, so sending it again is harmless: it is stored once."""


@router.post("/meter", operation_id="ingestMeter", summary="A meter's reading", openapi_extra=_one(METER), **SINGLE)
async def ingest_meter(exchange: IngestionRequest) -> None:
    """201 once Kafka has it. Sending the same reading again is harmless: it is stored once."""
    await ingest_reading(exchange, METER)


@router.post(
    "/vehicle", operation_id="ingestVehicle", summary="A vehicle's reading", openapi_extra=_one(VEHICLE), **SINGLE
)
async def ingest_vehicle(exchange: IngestionRequest) -> None:
    """201 once Kafka has it. Sending the same reading again is harmless: it is stored once."""
    await ingest_reading(exchange, VEHICLE)


@router.post(
    "/meter/batch", operation_id="ingestMeters", summary="Readings of meters", description=BATCH_TEXT,
    openapi_extra=_many(METER), **BATCH,
)  # fmt: skip
async def ingest_meters(exchange: IngestionRequest) -> None:
    """See BATCH_TEXT."""
    await ingest_batch(exchange, METER)


@router.post(
    "/vehicle/batch", operation_id="ingestVehicles", summary="Readings of vehicles", description=BATCH_TEXT,
    openapi_extra=_many(VEHICLE), **BATCH,
)  # fmt: skip
async def ingest_vehicles(exchange: IngestionRequest) -> None:
    """See BATCH_TEXT."""
    await ingest_batch(exchange, VEHICLE)


ENDPOINTS: Final[dict[str, Endpoint]] = {
    "/v1/ingestion/meter": ingest_meter,
    "/v1/ingestion/vehicle": ingest_vehicle,
    "/v1/ingestion/meter/batch": ingest_meters,
    "/v1/ingestion/vehicle/batch": ingest_vehicles,
}
