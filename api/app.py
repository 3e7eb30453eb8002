"""The service, put together: pool and gateway for as long as it runs, routes, problems, metrics."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from api.gateway import Gateway
from api.live import Live
from api.metrics import MeasureRequests, Metrics
from api.pace import Pace
from api.problems import handle_problems
from api.reading import TellSource, reading
from api.routes import analytics, devices, faults, fleet, history, ingestion, operations, page, stream
from api.settings import ApiSettings
from schemas.answers import Problem

DESCRIPTION = """Energy of meters (grid side, AC) and vehicles (battery side, DC): the last 24 hours of a vehicle, live status of
every device, and a way in for readings over HTTP. Energies are kWh, ratios per cent, temperatures degrees Celsius, times
RFC 3339. Errors are RFC 9457 problem details."""


def create_app(settings: ApiSettings) -> FastAPI:
    """The application; it opens connections only when it runs and is asked."""
    metrics = Metrics()
    app = FastAPI(title="Energy ingestion engine", version="0.1.0", description=DESCRIPTION, lifespan=_lifespan)
    app.state.settings = settings
    app.state.metrics = metrics
    app.state.pace = Pace()
    app.state.judging = asyncio.Semaphore(2)  # whole fleets at once: each keeps a connection for seconds
    app.state.gateway = Gateway(settings) if settings.ingestion_enabled else None
    app.add_middleware(TellSource)
    app.add_middleware(MeasureRequests, metrics=metrics)
    handle_problems(app)
    app.include_router(analytics.router)
    for room in (fleet, faults, history, devices, stream):
        app.include_router(room.router)
    if settings.ingestion_enabled:
        app.include_router(ingestion.router)
    app.include_router(operations.router)
    app.include_router(page.router)
    _document_problem(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: ApiSettings = app.state.settings
    gateway: Gateway | None = app.state.gateway
    async with reading(settings, app.state.metrics) as database:
        app.state.database = database
        app.state.live = Live(database, app.state.pace)
        if gateway:
            gateway.start()
        try:
            yield
        finally:
            await app.state.live.stop()
            if gateway:
                await gateway.stop()


def _document_problem(app: FastAPI) -> None:
    """Routes refer to the schema of a problem; put it where they look for it."""
    described = app.openapi()
    schema = Problem.model_json_schema(by_alias=True, ref_template="#/components/schemas/{model}")
    schemas = described.setdefault("components", {}).setdefault("schemas", {})
    schemas |= schema.pop("$defs", {})
    schemas["Problem"] = schema
    for path in described["paths"].values():
        for operation in path.values():
            if "application/json" in operation["responses"].get("422", {}).get("content", {}):
                content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
                operation["responses"]["422"] = {"description": "The request is not valid", "content": content}
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
