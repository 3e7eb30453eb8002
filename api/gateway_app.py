"""The gateway alone: no database, nothing to read. It scales, and fails, apart from the read service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.documents import document_problems
from api.gateway import Gateway
from api.gateway_metrics import GatewayMetrics
from api.metrics import MeasureRequests, Metrics
from api.problems import handle_problems
from api.routes import ingestion
from api.settings import GatewaySettings
from schemas.answers import Health

DESCRIPTION = "The way in for readings over HTTP: a reading, or a batch of them, is answered once Kafka has it."
operations = APIRouter(tags=["operations"])


def create_gateway_app(settings: GatewaySettings) -> FastAPI:
    """The application; it looks for Kafka only when it runs."""
    metrics = Metrics()
    app = FastAPI(title="Energy ingestion gateway", version="0.1.0", description=DESCRIPTION, lifespan=_lifespan)
    app.state.settings = settings
    app.state.metrics = metrics
    add_gateway(app, settings, metrics)
    app.add_middleware(MeasureRequests, metrics=metrics)
    handle_problems(app)
    app.include_router(operations)
    document_problems(app)
    return app


def add_gateway(app: FastAPI, settings: GatewaySettings, metrics: Metrics) -> None:
    """The routes, and what they need; whoever runs the application starts and stops `app.state.gateway`."""
    app.state.gateway = Gateway(settings)
    topics = (settings.kafka_meter_topic, settings.kafka_vehicle_topic)
    app.state.gateway_metrics = GatewayMetrics(metrics.registry, app.state.gateway, topics)
    app.include_router(ingestion.router)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.gateway.start()
    try:
        yield
    finally:
        await app.state.gateway.stop()


@operations.get("/healthz", operation_id="live", summary="The process is alive")
async def healthz() -> Health:
    """Always ok: a process that cannot say so does not answer."""
    return Health(status="ok")


@operations.get(
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


@operations.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """For Prometheus."""
    return Response(generate_latest(request.app.state.metrics.registry), media_type=CONTENT_TYPE_LATEST)
