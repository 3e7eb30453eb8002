"""Answers about access."""

from pydantic import Field

from schemas.responses.base import Answer


class AccessAnswer(Answer):
    """What the API key of a request may do."""

    open: bool = Field(description="true: no keys are asked for")
    key_id: str | None = Field(description="the key's id; null when access is open")
    scopes: list[str]
    devices: tuple[str, ...] | None = Field(description="prefixes of the ids it may send readings of; null: of any")
