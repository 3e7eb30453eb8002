"""Builds the applications: the whole API, or the ingestion gateway alone.

request -> server/ -> the middleware listed below -> FastAPI -> a route of routes/ -> database/ or ingestion/
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Final

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from fastapi.telemetry import TelemetryConfig
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.errors import ServerErrorMiddleware

from api.auth.access import OPEN
from api.auth.key_store import KeyStore
from api.cells.open import open_cells
from api.fleet.live_updates import LiveUpdates
from api.fleet.reading_rate import ReadingRates
from api.fleet.shared_work import SharedWork
from api.ingestion.fast_path import FastPath
from api.ingestion.metrics import GatewayMetrics
from api.ingestion.producer import ReadingProducer
from api.metrics import Metrics
from api.middleware.abandoned_requests import AbandonedRequestsMiddleware
from api.middleware.authentication import AuthenticationMiddleware
from api.middleware.data_source import SOURCE, STALENESS, DataSourceMiddleware
from api.middleware.disconnects import IgnoreDisconnectsMiddleware
from api.middleware.request_metrics import RequestMetricsMiddleware
from api.middleware.security_headers import SecurityHeadersMiddleware
from api.middleware.tracing import TracingMiddleware
from api.openapi.document import finish_openapi
from api.problems import handle_problems, unexpected_error
from api.routes import (
    access,
    analytics,
    devices,
    documents,
    events,
    faults,
    fleet,
    health,
    history,
    ingestion,
    page,
)
from api.settings import ApiSettings, GatewaySettings
from schemas.config.version import VERSION
from schemas.tracing.tracer import NO_TRACER, Tracer

DESCRIPTION: Final = """\
Energy of meters (grid side, AC) and vehicles (battery side, DC): the last 24 hours of a vehicle, live status of
every device, and ingestion of readings over HTTP. Energies are kWh, ratios per cent, temperatures degrees Celsius, times
RFC 3339. Errors are RFC 9457 problem details."""
GATEWAY_DESCRIPTION: Final = (
    "Ingestion of readings over HTTP: a request is answered once Kafka has acknowledged its readings."
)
NO_TELEMETRY: Final[TelemetryConfig] = {"tracing": False, "metrics": False, "logs": False}  # /metrics has our own
FLEET_EVALUATIONS: Final = 2  # at a time; each holds a database connection for seconds
QUEUED_FLEET_EVALUATIONS: Final = 8
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_app(settings: ApiSettings, tracer: Tracer = NO_TRACER) -> FastAPI:
    """The whole API, with the ingestion gateway if it is enabled. Connections are opened when the application starts.

    Raises:
        InvalidKeys: the file of API keys cannot be used.
    """
    app = _application(
        settings, tracer, "Energy ingestion engine", DESCRIPTION, _lifespan, gateway=settings.ingestion_enabled
    )
    app.state.reading_rates = ReadingRates()
    app.state.last_summary = SharedWork(running=1, queued=0)
    app.state.fleet_evaluations = SharedWork(running=FLEET_EVALUATIONS, queued=QUEUED_FLEET_EVALUATIONS)
    modules = (analytics, fleet, faults, history, devices, events, access, health, page)
    return _completed(app, *(module.router for module in modules))


def create_gateway(settings: GatewaySettings, tracer: Tracer = NO_TRACER) -> FastAPI:
    """The ingestion gateway alone, without a database. It scales and fails independently of the rest of the API.

    Raises:
        InvalidKeys: the file of API keys cannot be used.
    """
    app = _application(
        settings, tracer, "Energy ingestion gateway", GATEWAY_DESCRIPTION, _gateway_lifespan, gateway=True
    )
    return _completed(app, health.gateway_router, access.router)


def _application(
    settings: GatewaySettings, tracer: Tracer, title: str, description: str, lifespan: Lifespan, *, gateway: bool
) -> FastAPI:
    app = FastAPI(
        title=title,
        version=VERSION,
        description=description,
        lifespan=lifespan,
        telemetry=NO_TELEMETRY,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # the address of a redirect would have neither the proxy's scheme nor its prefix
    )
    metrics = Metrics()
    app.state.settings = settings
    app.state.metrics = metrics
    app.state.tracer = tracer
    app.state.key_store = None if settings.api_open else KeyStore(settings.api_keys_file, metrics.registry)
    app.state.producer = None
    if gateway:
        app.state.producer = ReadingProducer(settings, tracer)
        topics = (settings.meter_topics[0], settings.vehicle_topics[0])
        app.state.gateway_metrics = GatewayMetrics(metrics.registry, app.state.producer, topics)
    return app


def _completed(app: FastAPI, *routers: APIRouter) -> FastAPI:
    if app.state.producer:
        app.include_router(ingestion.router)
    for router in (documents.router, *routers):
        app.include_router(router)
        _answer_head(app, router)
    handle_problems(app)
    _add_middleware(app)
    finish_openapi(app)
    return app


def _answer_head(app: FastAPI, router: APIRouter) -> None:
    """Registers HEAD on the open routes, where uptime probes use it. Elsewhere it stays a 405: a stream has no end."""
    for route in router.routes:
        if isinstance(route, APIRoute) and route.path in OPEN:
            app.add_api_route(route.path, route.endpoint, methods=["HEAD"], include_in_schema=False)


def _add_middleware(app: FastAPI) -> None:
    """Wraps the application in its middleware, listed outermost first.

    All but the last lie outside FastAPI's own middleware: SecurityHeaders so that responses to unexpected errors get the headers
    too, FastPath so that ingestion, at thousands of requests a second, bypasses FastAPI. The last lies inside FastAPI's handler
    of unexpected errors, whose responses name no data source.
    """
    settings: GatewaySettings = app.state.settings
    tracer: Tracer = app.state.tracer
    cors = Middleware(
        CORSMiddleware,
        allow_origins=settings.origins,
        allow_methods=["GET", "POST"],
        allow_headers=["Authorization", "X-API-Key", "Content-Type"],
        expose_headers=["Retry-After", SOURCE, STALENESS],
    )
    middleware_stack: list[Middleware] = [
        Middleware(IgnoreDisconnectsMiddleware),
        *([] if tracer is NO_TRACER else [Middleware(TracingMiddleware, tracer)]),
        Middleware(SecurityHeadersMiddleware, settings.api_hsts_seconds),
        Middleware(ServerErrorMiddleware, handler=unexpected_error),
        Middleware(RequestMetricsMiddleware, app.state.metrics),
        *([cors] if settings.origins else []),
        Middleware(AuthenticationMiddleware, app.state.key_store, app.state.metrics.registry),
        Middleware(FastPath, ingestion.ENDPOINTS if app.state.producer else {}),
        Middleware(AbandonedRequestsMiddleware),
        Middleware(DataSourceMiddleware),
    ]
    *outside, inside = middleware_stack
    app.user_middleware = [inside]
    stack = app.build_middleware_stack()
    for middleware, arguments, options in reversed(outside):
        stack = middleware(stack, *arguments, **options)
    app.middleware_stack = stack


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with open_cells(app.state.settings, app.state.metrics) as cells:
        app.state.cells = cells
        app.state.live_updates = LiveUpdates(cells, app.state.reading_rates)
        producer: ReadingProducer | None = app.state.producer
        if producer:
            producer.start()
        try:
            with _keys_reloaded(app):
                yield
        finally:
            await app.state.live_updates.stop()
            if producer:
                await producer.stop()
            app.state.tracer.close()


@asynccontextmanager
async def _gateway_lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.producer.start()
    try:
        with _keys_reloaded(app):
            yield
    finally:
        await app.state.producer.stop()
        app.state.tracer.close()


@contextmanager
def _keys_reloaded(app: FastAPI) -> Iterator[None]:
    """Reloads API keys for as long as the block runs."""
    task = asyncio.create_task(app.state.key_store.watch()) if app.state.key_store else None
    try:
        yield
    finally:
        if task:
            task.cancel()
