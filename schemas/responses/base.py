"""Parts that the response bodies of several routes share: JSON in camelCase, units in the descriptions."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Judgement = Literal["healthy", "degraded", "faulty", "insufficient_data", "unassigned", "implausible"]
Cursor = Annotated[str | None, Field(description="value of `after` for the next page; null on the last page")]

UnavailableCells = Annotated[
    list[str],
    Field(
        default_factory=list,
        exclude_if=lambda cells: not cells,
        description="cells that did not respond and are missing here; absent when there is none",
    ),
]


class ResponseBody(BaseModel):
    """Base of all response bodies."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, frozen=True)


class Coverage(ResponseBody):
    """Share of the expected readings that each side has sent: readings per minute, 0 to 1."""

    ac: float | None = Field(
        description="readings of the assigned meters per minute of assignment; null when unassigned"
    )
    dc: float = Field(description="readings of the vehicle per minute of assignment, or of the window when unassigned")


class FieldProblem(ResponseBody):
    """One error of one field of a request."""

    field: str
    reason: str
    detail: str


class Problem(ResponseBody):
    """An error as RFC 9457 problem details (application/problem+json)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] | None = None
