"""The answers to a batch of readings: item by item, and at one look what to send again."""

from typing import Literal

from pydantic import Field

from schemas.responses.base import Answer, FieldProblem, Problem


class ItemAnswer(Answer):
    """What became of one reading of a batch."""

    index: int = Field(ge=0, description="its place in the batch, from 0")
    status: Literal[201, 403, 422, 503] = Field(
        description="201 Kafka has it; 422 it is not valid and 403 its device is not this API key's: sending it again is of no "
        "use; 503 send it again"
    )
    message: str = Field(examples=["Meter METER-001 data ingested successfully"])
    errors: list[FieldProblem] | None = Field(None, description="with 422: what is wrong, field by field")


class BatchAnswer(Answer):
    """Every reading of the batch is settled; nothing is to be sent again."""

    ingested: int = Field(ge=0, description="readings that Kafka has: those with 201")
    refused: int = Field(ge=0, description="readings that will never be taken as they are: those with 422 or 403")
    send_again: list[int] = Field(
        description="places of the readings with 503; empty when the batch is answered with 200"
    )
    items: list[ItemAnswer] = Field(description="one for each reading, in the order of the batch")


class BatchProblem(Problem):
    """Nothing of the batch was taken, or, when `items` is there, some of it: `sendAgain` says what to send again."""

    ingested: int | None = Field(None, ge=0)
    refused: int | None = Field(None, ge=0)
    send_again: list[int] | None = Field(None, description="places of the readings to send again; absent: all of them")
    items: list[ItemAnswer] | None = None
