"""Routes of the ingestion gateway: one reading per request, or a batch. FastAPI serves their OpenAPI; FastPath calls them."""

from typing import Any, Final

import msgspec
from fastapi import APIRouter, status

from api.ingestion.fast_path import Endpoint
from api.ingestion.handlers import handle, ingest_batch, ingest_reading
from api.ingestion.parsing import JSON_ARRAY, METER, NDJSON, VEHICLE, ReadingType
from api.ingestion.request import IngestionRequest
from api.problems import MEDIA_TYPE, problem_responses
from schemas.records.readings import example
from schemas.responses.ingestion import BatchProblem, BatchResponse, Ingested

router = APIRouter(prefix="/v1/ingestion", tags=["ingestion"])


def _reading_body(reading_type: ReadingType) -> dict[str, Any]:
    """The OpenAPI of a body with one reading. The consumer's decoder parses the body, not FastAPI."""
    content = {JSON_ARRAY: {"schema": _schema(reading_type), "example": example(reading_type.schema)}}
    return {"requestBody": {"required": True, "content": content}}


def _batch_body(reading_type: ReadingType) -> dict[str, Any]:
    """The OpenAPI of a batch in both formats. An item that does not match the schema does not affect the others."""
    reading = example(reading_type.schema)
    other = {"description": "anything else is rejected with 422; the other items are ingested"}
    lines = (msgspec.json.encode(reading) + b"\n").decode() * 2
    items = {"type": "array", "items": {"anyOf": [_schema(reading_type), other]}}
    content = {
        JSON_ARRAY: {"schema": items, "example": [reading]},
        NDJSON: {"schema": {"description": "one reading per line"}, "example": lines},
    }
    return {"requestBody": {"required": True, "content": content}}


def _schema(reading_type: ReadingType) -> dict[str, Any]:
    _, components = msgspec.json.schema_components([reading_type.schema])
    schema: dict[str, Any] = components[reading_type.schema.__name__]
    return schema


def _batch_problem() -> dict[str, Any]:
    schema = BatchProblem.model_json_schema(by_alias=True, ref_template="#/components/schemas/{model}")
    schema.pop("$defs")  # FastAPI defines the same ones for BatchResponse
    return schema


SINGLE: Final[dict[str, Any]] = {
    "status_code": status.HTTP_201_CREATED,
    "response_model": Ingested,
    "responses": problem_responses(400, 408, 413, 422, 429, 503),
}
BATCH: Final[dict[str, Any]] = {
    "response_model": BatchResponse,
    "responses": {
        **problem_responses(400, 408, 413, 415, 429),
        503: {
            "description": "Some or all readings have to be sent again",
            "content": {MEDIA_TYPE: {"schema": _batch_problem()}},
        },
    },
}
BATCH_DESCRIPTION: Final = """A JSON array, or one reading per line (NDJSON). Each reading has its own status in `items`, in the
order of the batch: 201 acknowledged by Kafka, 422 not valid, 403 device not permitted for this API key, 503 send it again.

**200: no reading has to be sent again. 503: send the readings in `sendAgain` again, or the whole batch if `sendAgain` is
absent.** Any other status: no reading of the batch was accepted.

A reading is identified by its device and its timestamp, so sending it again is safe: it is stored once."""


@router.post(
    "/meter", operation_id="ingestMeter", summary="Ingest a meter reading", openapi_extra=_reading_body(METER), **SINGLE
)
async def ingest_meter(request: IngestionRequest) -> None:
    """201 once Kafka has acknowledged the reading. Sending the same reading again is safe: it is stored once."""
    await handle(request, METER, ingest_reading)


@router.post(
    "/vehicle", operation_id="ingestVehicle", summary="Ingest a vehicle reading", openapi_extra=_reading_body(VEHICLE),
    **SINGLE,
)  # fmt: skip
async def ingest_vehicle(request: IngestionRequest) -> None:
    """201 once Kafka has acknowledged the reading. Sending the same reading again is safe: it is stored once."""
    await handle(request, VEHICLE, ingest_reading)


@router.post(
    "/meter/batch", operation_id="ingestMeters", summary="Ingest meter readings", description=BATCH_DESCRIPTION,
    openapi_extra=_batch_body(METER), **BATCH,
)  # fmt: skip
async def ingest_meters(request: IngestionRequest) -> None:
    await handle(request, METER, ingest_batch)


@router.post(
    "/vehicle/batch", operation_id="ingestVehicles", summary="Ingest vehicle readings", description=BATCH_DESCRIPTION,
    openapi_extra=_batch_body(VEHICLE), **BATCH,
)  # fmt: skip
async def ingest_vehicles(request: IngestionRequest) -> None:
    await handle(request, VEHICLE, ingest_batch)


ENDPOINTS: Final[dict[str, Endpoint]] = {
    "/v1/ingestion/meter": ingest_meter,
    "/v1/ingestion/vehicle": ingest_vehicle,
    "/v1/ingestion/meter/batch": ingest_meters,
    "/v1/ingestion/vehicle/batch": ingest_vehicles,
}
