"""Health, readiness and metrics of both services, and counts of dead letters."""

import asyncio
from functools import partial
from itertools import chain
from typing import Final

import structlog
from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.cells.cells import Cell, Cells
from api.database.routing import READ_ORIGIN, ReadOrigin
from api.metrics import Metrics
from api.problems import Unavailable, problem_responses
from api.routes.parameters import FleetCells
from schemas.responses.health import DeadLetterCount, DeadLetterCounts, Health, Readiness
from sql.connection import DATABASE_ERRORS
from sql.queries import queries

log = structlog.get_logger(__name__)

DATABASE_TIMEOUT_SECONDS: Final = 2.0
router = APIRouter(tags=["operations"])
gateway_router = APIRouter(tags=["operations"])  # for the ingestion gateway alone, which has no database


@router.get("/healthz", operation_id="live", summary="The process is alive")
@gateway_router.get("/healthz", operation_id="live", summary="The process is alive")
async def healthz() -> Health:
    """Always `ok`, without any check."""
    return Health(status="ok")


@router.get(
    "/readyz",
    operation_id="ready",
    summary="The database can be queried",
    responses={503: {"model": Readiness, "description": "what the service waits for"}},
)
async def readyz(request: Request, response: Response) -> Readiness:
    """Ready while the database responds; of several cells, while one does. `waitingFor` also reports a gateway that waits for
    Kafka and a replica that is not used, but neither makes the service unavailable."""
    waiting_for = {}
    producer = request.app.state.producer
    if producer and (detail := producer.waiting_for()):
        waiting_for["gateway"] = detail
    cells: Cells = request.app.state.cells
    for cell in cells:
        if cell.database.monitor and (detail := cell.database.monitor.problem()):
            waiting_for["replica"] = detail
    problems = [each for each in await asyncio.gather(*map(_database_problem, cells)) if each]
    waiting_for |= dict(problems)
    if len(problems) == len(cells):
        response.status_code = 503
        return Readiness(status="unavailable", waiting_for=waiting_for)
    origin = READ_ORIGIN.get() or ReadOrigin()
    staleness = None if origin.staleness is None else round(origin.staleness, 1)
    return Readiness(status="ok", waiting_for=waiting_for, data_source=origin.source, data_staleness_seconds=staleness)


@gateway_router.get(
    "/readyz",
    operation_id="ready",
    summary="Readings can be ingested",
    responses={503: {"model": Health, "description": "what the gateway waits for"}},
)
async def gateway_readyz(request: Request, response: Response) -> Health:
    """Ready while Kafka responds and the topics exist."""
    waiting_for = request.app.state.producer.waiting_for()
    if waiting_for is None:
        return Health(status="ok")
    response.status_code = 503
    return Health(status="unavailable", waiting_for={"gateway": waiting_for})


@router.get("/v1/dead-letters", operation_id="deadLetters", responses=problem_responses(429, 503))
async def dead_letters(cells: FleetCells) -> DeadLetterCounts:
    """Unresolved dead letters by topic and reason. `python -m consumer dead-letters` replays or discards them."""
    items, unavailable = await _count_dead_letters(cells)
    return DeadLetterCounts(items=items, total=sum(each.letters for each in items), unavailable_cells=unavailable)


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """The Prometheus metrics. Only the dead letters are missing while the database does not respond."""
    registered: Metrics = request.app.state.metrics
    registered.dead_letters.clear()
    try:
        async with asyncio.timeout(DATABASE_TIMEOUT_SECONDS):
            for each in (await _count_dead_letters(request.app.state.cells))[0]:
                registered.dead_letters.labels(each.topic, each.reason).set(each.letters)
    except (Unavailable, *DATABASE_ERRORS) as error:
        log.warning("dead_letter_count_failed", error=repr(error))
    return _exposition(request)


@gateway_router.get("/metrics", include_in_schema=False)
async def gateway_metrics(request: Request) -> Response:
    """The Prometheus metrics."""
    return _exposition(request)


def _exposition(request: Request) -> Response:
    return Response(generate_latest(request.app.state.metrics.registry), media_type=CONTENT_TYPE_LATEST)


async def _count_dead_letters(cells: Cells) -> tuple[list[DeadLetterCount], list[str]]:
    """The counts of all cells together, and the cells that did not respond."""
    no_filter = {"consumer_group": None, "topic": None, "reason": None, "since": None, "before": None}
    answers = await cells.rows(partial(queries.count_letters, **no_filter))
    counts: dict[tuple[str, str], DeadLetterCount] = {}
    for row in chain.from_iterable(answers.parts.values()):
        count = DeadLetterCount(**row)
        known = counts.get((count.topic, count.reason))
        counts[count.topic, count.reason] = _sum(known, count) if known else count
    return sorted(counts.values(), key=lambda each: (each.topic, each.reason)), answers.unavailable


def _sum(one: DeadLetterCount, other: DeadLetterCount) -> DeadLetterCount:
    return DeadLetterCount(
        topic=one.topic,
        reason=one.reason,
        letters=one.letters + other.letters,
        first_rejected=min(one.first_rejected, other.first_rejected),
        last_rejected=max(one.last_rejected, other.last_rejected),
    )


async def _database_problem(cell: Cell) -> tuple[str, str] | None:
    """What the service waits for, and why; None when the cell's database responds."""
    label, subject = (
        (f"cell {cell.name}", f"the database of the cell {cell.name}") if cell.name else ("database", "the database")
    )
    try:
        async with asyncio.timeout(DATABASE_TIMEOUT_SECONDS), cell.database.acquire() as connection:
            await connection.execute("SELECT FROM vehicle_live_status LIMIT 1")
    except TimeoutError:
        return label, f"{subject} did not respond within {DATABASE_TIMEOUT_SECONDS:g} s"
    except Exception as error:  # noqa: BLE001 - whatever the error, the service is not ready and reports why
        return label, f"{subject} cannot be used: {error}"
    return None
