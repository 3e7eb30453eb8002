"""Responses to a batch of readings: the result of each item, and which items to send again."""

from typing import Literal

from pydantic import Field

from schemas.responses.base import FieldProblem, Problem, ResponseBody


class Ingested(ResponseBody):
    """Kafka has acknowledged the reading (acks=all)."""

    success: Literal[True] = True
    message: str = Field(examples=["Meter METER-001 data ingested successfully"])


class ItemResult(ResponseBody):
    """The result of one reading of a batch."""

    index: int = Field(ge=0, description="position in the batch, from 0")
    status: Literal[201, 403, 422, 503] = Field(
        description="201: acknowledged by Kafka; 422: not valid, or 403: the API key does not cover this device: do not "
        "send it again; 503: send it again"
    )
    message: str = Field(examples=["Meter METER-001 data ingested successfully"])
    errors: list[FieldProblem] | None = Field(None, description="with 422: the errors of each field")


class BatchResponse(ResponseBody):
    """Every reading of the batch was accepted or rejected for good; none has to be sent again."""

    ingested: int = Field(ge=0, description="readings acknowledged by Kafka: those with 201")
    refused: int = Field(ge=0, description="readings rejected for good: those with 422 or 403")
    send_again: list[int] = Field(
        description="positions of the readings with 503; empty when the status of the batch is 200"
    )
    items: list[ItemResult] = Field(description="one per reading, in the order of the batch")


class BatchProblem(Problem):
    """None of the batch was ingested or, when `items` is present, only some of it: `sendAgain` lists what to send again."""

    ingested: int | None = Field(None, ge=0)
    refused: int | None = Field(None, ge=0)
    send_again: list[int] | None = Field(
        None, description="positions of the readings to send again; absent: all of them"
    )
    items: list[ItemResult] | None = None
