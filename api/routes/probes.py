"""What machines ask the gateway when it runs alone: alive, ready, metrics."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from schemas.responses.base import Health

router = APIRouter(tags=["operations"])


@router.get("/healthz", operation_id="live", summary="The process is alive")
async def healthz() -> Health:
    """Always ok: a process that cannot say so does not answer."""
    return Health(status="ok")


@router.get(
    "/readyz",
    operation_id="ready",
    summary="Readings can be taken",
    responses={503: {"model": Health, "description": "what it waits for"}},
)
async def readyz(request: Request, response: Response) -> Health:
    """Ready when Kafka answers and the topics are there."""
    waiting_for = request.app.state.gateway.waiting_for()
    if waiting_for is None:
        return Health(status="ok")
    response.status_code = 503
    return Health(status="unavailable", waiting_for={"gateway": waiting_for})


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """For Prometheus."""
    return Response(generate_latest(request.app.state.metrics.registry), media_type=CONTENT_TYPE_LATEST)
