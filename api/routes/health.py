"""What operators and machines ask: alive, ready, metrics."""

import asyncio
from typing import Any, Final

import structlog
from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.database.routing import USED, ReadOrigin, ReadRouter
from api.metrics import Metrics
from api.problems import Unavailable, documented
from api.routes.parameters import Database
from schemas.responses.base import DeadLetterCount, DeadLetterCounts, Health, Readiness
from sql.connection import DATABASE_ERRORS
from sql.queries import queries

log = structlog.get_logger(__name__)

DATABASE_ANSWERS_WITHIN_SECONDS: Final = 2.0
router = APIRouter(tags=["operations"])


@router.get("/healthz", operation_id="live", summary="The process is alive")
async def healthz() -> Health:
    """Always ok: a process that cannot say so does not answer."""
    return Health(status="ok")


@router.get(
    "/readyz",
    operation_id="ready",
    summary="Queries can be answered",
    responses={503: {"model": Readiness, "description": "what it waits for"}},
)
async def readyz(request: Request, response: Response) -> Readiness:
    """Ready when questions can be answered. A gateway that waits for Kafka, or a replica whose questions the primary answers, is
    told, but does not take the reads down with it."""
    waiting = {}
    gateway = request.app.state.gateway
    if gateway and (detail := gateway.waiting_for()):
        waiting["gateway"] = detail
    reads: ReadRouter = request.app.state.database
    if reads.replica and (detail := reads.replica.problem()):
        waiting["replica"] = detail
    problem = await _database_problem(reads)
    if problem:
        response.status_code = 503
        return Readiness(status="unavailable", waiting_for=waiting | {"database": problem})
    used = USED.get() or ReadOrigin()
    staleness = None if used.staleness is None else round(used.staleness, 1)
    return Readiness(status="ok", waiting_for=waiting, data_source=used.source, data_staleness_seconds=staleness)


@router.get("/v1/dead-letters", operation_id="deadLetters", responses=documented(503))
async def dead_letters(database: Database) -> DeadLetterCounts:
    """How many records could not become readings, by topic and reason; `python -m consumer dead-letters` settles them."""
    items = [DeadLetterCount(**row) for row in await _count_letters(database)]
    return DeadLetterCounts(items=items, total=sum(each.letters for each in items))


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """For Prometheus. Without the database the dead letters are missing, and the rest is there."""
    ours: Metrics = request.app.state.metrics
    ours.dead_letters.clear()
    try:
        async with asyncio.timeout(DATABASE_ANSWERS_WITHIN_SECONDS):
            for row in await _count_letters(request.app.state.database):
                ours.dead_letters.labels(row["topic"], row["reason"]).set(row["letters"])
    except (Unavailable, *DATABASE_ERRORS) as error:
        log.warning("dead_letters_not_counted", error=repr(error))
    return Response(generate_latest(ours.registry), media_type=CONTENT_TYPE_LATEST)


async def _count_letters(database: Any) -> list[Any]:
    anything = {"consumer_group": None, "topic": None, "reason": None, "since": None, "before": None}
    async with database.acquire() as connection:
        return [row async for row in queries.count_letters(connection, **anything)]


async def _database_problem(database: Any) -> str | None:
    try:
        async with asyncio.timeout(DATABASE_ANSWERS_WITHIN_SECONDS), database.acquire() as connection:
            await connection.execute("SELECT FROM vehicle_live_status LIMIT 1")
    except TimeoutError:
        return f"the database does not answer within {DATABASE_ANSWERS_WITHIN_SECONDS:g} s"
    except Exception as error:  # noqa: BLE001 - whatever it is, we are not ready, and say why
        return f"the database cannot be used: {error}"
    return None
