"""The service, put together: pool and gateway for as long as it runs, routes, problems, metrics."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from api.around import Guarded
from api.auth.key_store import KeyStore
from api.database.pools import DataSourceMiddleware, open_read_router
from api.fleet.live_updates import LiveUpdates
from api.fleet.reading_rate import ReadingRate
from api.ingestion.metrics import GatewayMetrics
from api.ingestion.producer import ReadingProducer
from api.metrics import Metrics
from api.openapi.document import complete
from api.problems import handle_problems
from api.routes import access, analytics, devices, documents, events, faults, fleet, health, history, ingestion, page
from api.settings import ApiSettings, GatewaySettings
from schemas.config.version import VERSION

DESCRIPTION = """Energy of meters (grid side, AC) and vehicles (battery side, DC): the last 24 hours of a vehicle, live status of
every device, and a way in for readings over HTTP. Energies are kWh, ratios per cent, temperatures degrees Celsius, times
RFC 3339. Errors are RFC 9457 problem details."""
GATEWAY_DESCRIPTION = "The way in for readings over HTTP: a reading, or a batch of them, is answered once Kafka has it."
NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False}  # ours are on /metrics


def create_app(settings: ApiSettings) -> FastAPI:
    """The read service, with the gateway when enabled; it opens connections only when it runs and is asked.

    Raises:
        InvalidKeys: the file of API keys cannot be used.
    """
    app = _application(settings, "Energy ingestion engine", DESCRIPTION, _lifespan, gateway=settings.ingestion_enabled)
    app.state.reading_rate = ReadingRate()
    app.state.fleet_evaluations = asyncio.Semaphore(2)  # whole fleets at once: each keeps a connection for seconds
    app.add_middleware(DataSourceMiddleware)
    app.include_router(analytics.router)
    for room in (fleet, faults, history, devices, events, access):
        app.include_router(room.router)
    app.include_router(health.router)
    app.include_router(page.router)
    complete(app)
    return app


def create_gateway(settings: GatewaySettings) -> FastAPI:
    """The gateway alone: no database, nothing to read. It scales, and fails, apart from the read service.

    Raises:
        InvalidKeys: the file of API keys cannot be used.
    """
    app = _application(settings, "Energy ingestion gateway", GATEWAY_DESCRIPTION, _gateway_lifespan, gateway=True)
    app.include_router(health.gateway_router)
    app.include_router(access.router)
    complete(app)
    return app


def _application(settings: GatewaySettings, title: str, description: str, lifespan: Any, *, gateway: bool) -> FastAPI:
    metrics = Metrics()
    keyring = None if settings.api_open else KeyStore(settings.api_keys_file, metrics.registry)
    app = Guarded(
        title=title,
        version=VERSION,
        description=description,
        lifespan=lifespan,
        telemetry=NO_TELEMETRY,
        docs_url=None,
        redoc_url=None,
    )
    app.state.settings = settings
    app.state.metrics = metrics
    app.state.keyring = keyring
    app.state.gateway = None
    if gateway:
        app.state.gateway = ReadingProducer(settings)
        topics = (settings.kafka_meter_topic, settings.kafka_vehicle_topic)
        app.state.gateway_metrics = GatewayMetrics(metrics.registry, app.state.gateway, topics)
        app.include_router(ingestion.router)
    app.include_router(documents.router)
    handle_problems(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: ApiSettings = app.state.settings
    gateway: ReadingProducer | None = app.state.gateway
    async with open_read_router(settings, app.state.metrics) as database:
        app.state.database = database
        app.state.live = LiveUpdates(database, app.state.reading_rate)
        if gateway:
            gateway.start()
        try:
            with _keys_watched(app):
                yield
        finally:
            await app.state.live.stop()
            if gateway:
                await gateway.stop()


@asynccontextmanager
async def _gateway_lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.gateway.start()
    try:
        with _keys_watched(app):
            yield
    finally:
        await app.state.gateway.stop()


@contextmanager
def _keys_watched(app: FastAPI) -> Iterator[None]:
    watching = asyncio.create_task(app.state.keyring.watch()) if app.state.keyring else None
    try:
        yield
    finally:
        if watching:
            watching.cancel()
