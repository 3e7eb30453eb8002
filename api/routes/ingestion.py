"""The gateway's routes: one reading a request, 201 once Kafka has it."""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from fastapi import APIRouter, HTTPException, Request, status

from api.access import access_of, must_ingest
from api.problems import documented
from schemas.answers import Ingested
from schemas.readings import MeterReading, Reading, TimeLimits, VehicleReading, example, read_meter, read_vehicle

BODY_LIMIT: Final = 64 * 1024
router = APIRouter(prefix="/v1/ingestion", tags=["ingestion"])


def _body(kind: type[Reading]) -> dict[str, Any]:
    """The request body for OpenAPI; it is decoded as the consumer decodes records, not by FastAPI."""
    _, components = msgspec.json.schema_components([kind])
    content = {"application/json": {"schema": components[kind.__name__], "example": example(kind)}}
    return {"requestBody": {"required": True, "content": content}}


@router.post(
    "/meter",
    status_code=status.HTTP_201_CREATED,
    operation_id="ingestMeter",
    responses=documented(400, 413, 422, 503),
    openapi_extra=_body(MeterReading),
)
async def ingest_meter(request: Request) -> Ingested:
    """Hand a meter's reading to Kafka. Sending the same reading again is harmless: it is stored once."""
    reading = read_meter(await _read(request), _limits(request))
    must_ingest(access_of(request), reading.meter_id)
    await request.app.state.gateway.send(reading)
    return Ingested(message=f"Meter {reading.meter_id} data ingested successfully")


@router.post(
    "/vehicle",
    status_code=status.HTTP_201_CREATED,
    operation_id="ingestVehicle",
    responses=documented(400, 413, 422, 503),
    openapi_extra=_body(VehicleReading),
)
async def ingest_vehicle(request: Request) -> Ingested:
    """Hand a vehicle's reading to Kafka. Sending the same reading again is harmless: it is stored once."""
    reading = read_vehicle(await _read(request), _limits(request))
    must_ingest(access_of(request), reading.vehicle_id)
    await request.app.state.gateway.send(reading)
    return Ingested(message=f"Vehicle {reading.vehicle_id} data ingested successfully")


def _limits(request: Request) -> TimeLimits:
    return TimeLimits.at(datetime.now(UTC), request.app.state.settings.retention_days)


async def _read(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > BODY_LIMIT:
            raise HTTPException(413, f"one reading takes a few hundred bytes; at most {BODY_LIMIT} are read")
    return bytes(body)
