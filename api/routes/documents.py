"""The API documentation: `api/documents/`, and Swagger UI from an installed package."""

from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request, Response

from api.routes.page import POLICY
from api.static_files import Files, files_in, files_of_package

API_DIRECTORY: Final = Path(__file__).parents[1]
FILES: Final = Files(
    files_in(API_DIRECTORY / "documents")
    | {"icon.svg": API_DIRECTORY / "page" / "icon.svg"}
    | files_of_package("fastapi_offline", "static", "swagger-ui-bundle.js", "swagger-ui.css"),
    POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'"),  # Swagger UI sets inline styles
)
router = APIRouter(include_in_schema=False)


@router.get("/docs")
def documents(request: Request) -> Response:
    return FILES.page(request)


@router.get("/docs/{name}")
def asset(request: Request, name: str) -> Response:
    return FILES.asset(request, name)
