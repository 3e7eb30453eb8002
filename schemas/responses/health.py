"""Health of the service, and the count of dead letters."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from schemas.responses.base import ResponseBody, UnavailableCells


class Health(ResponseBody):
    """Whether the service is alive or ready, and what it is waiting for."""

    status: Literal["ok", "unavailable"]
    waiting_for: dict[str, str] = Field(default_factory=dict)


class Readiness(Health):
    """Readiness, the server that reads are routed to, and by how many seconds its data may lag behind the primary."""

    data_source: Literal["replica", "primary"] | None = None
    data_staleness_seconds: float | None = None


class DeadLetterCount(ResponseBody):
    """Unresolved dead letters of one topic with one reason."""

    topic: str
    reason: str
    letters: int
    first_rejected: datetime
    last_rejected: datetime


class DeadLetterCounts(ResponseBody):
    """Dead letters that were neither replayed nor discarded."""

    items: list[DeadLetterCount]
    total: int
    unavailable_cells: UnavailableCells
