"""Response about the access that an API key grants."""

from pydantic import Field

from schemas.responses.base import ResponseBody


class AccessResponse(ResponseBody):
    """What the API key of a request grants."""

    open: bool = Field(description="true: no API keys are required")
    key_id: str | None = Field(description="id of the key; null when access is open")
    scopes: list[str]
    devices: tuple[str, ...] | None = Field(
        description="id prefixes of the devices it may send readings for; null: any device"
    )
