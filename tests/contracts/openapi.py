"""The OpenAPI document of the read service with ingestion."""

from typing import Any

from api.app import create_app
from api.settings import ApiSettings


def document() -> dict[str, Any]:
    """The document that /openapi.json serves."""
    document: dict[str, Any] = create_app(ApiSettings(ingestion_enabled=True)).openapi()
    return document
