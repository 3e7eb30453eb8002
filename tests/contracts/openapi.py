"""The OpenAPI document of the whole service, as it is served."""

from typing import Any

from api.app import create_app
from api.settings import ApiSettings


def document() -> dict[str, Any]:
    """What /openapi.json gives."""
    described: dict[str, Any] = create_app(ApiSettings(ingestion_enabled=True)).openapi()
    return described
