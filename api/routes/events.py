"""Live updates as server-sent events."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from api.auth.access import is_still_authorized
from api.fleet.live_updates import Subscriber
from api.problems import problem_responses
from api.routes.parameters import OneVehicle

RECONNECT_AFTER_MS: Final = 2000
EXAMPLE: Final = """retry: 2000

event: fleet
data: {"timeWindowStart": ..., the body of GET /v1/fleet/summary}

event: vehicle
data: {"vehicleId": "VEH-001", ..., the body of GET /v1/vehicles/VEH-001}

event: unavailable
data: {"detail": "the database does not respond; the updates resume as soon as it does"}

"""
DESCRIBED: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"text/event-stream": {"example": EXAMPLE}}}}
router = APIRouter(prefix="/v1", tags=["fleet"])


async def _subscribe(request: Request, vehicle_id: OneVehicle = None) -> AsyncIterator[Subscriber]:
    with request.app.state.live_updates.subscribe(vehicle_id) as subscriber:
        yield subscriber


@router.get(
    "/stream",
    operation_id="stream",
    summary="The fleet summary every 2 s, and each new reading of one vehicle, as server-sent events",
    response_class=EventSourceResponse,
    responses={**DESCRIBED, **problem_responses(422, 503)},
)
async def stream(
    request: Request, subscriber: Annotated[Subscriber, Depends(_subscribe)]
) -> AsyncIterator[ServerSentEvent]:
    """`fleet` is sent at once and then every 2 s; `vehicle` at once and then when there is a newer reading, checked every second;
    `unavailable` when the database does not respond: the stream stays open and continues with `fleet` afterwards. The stream
    ends when its API key expires or is revoked."""
    yield ServerSentEvent(retry=RECONNECT_AFTER_MS)
    async for event, data in subscriber.events():
        if not is_still_authorized(request):
            return
        yield ServerSentEvent(event=event, raw_data=data)
