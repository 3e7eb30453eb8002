"""The documents of the API: `api/documents/`, and the viewer (Swagger UI) out of the installed package that carries it."""

from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request, Response

from api.routes.page import POLICY
from api.static_files import Files, files_in, files_of_package

ROOM: Final = Path(__file__).parents[1]
FILES: Final = Files(
    files_in(ROOM / "documents")
    | {"icon.svg": ROOM / "page" / "icon.svg"}
    | files_of_package("fastapi_offline", "static", "swagger-ui-bundle.js", "swagger-ui.css"),
    POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'"),  # the viewer styles its own elements
)
router = APIRouter(include_in_schema=False)


@router.get("/docs")
def documents(request: Request) -> Response:
    """The page."""
    return FILES.page(request)


@router.get("/docs/{name}")
def asset(request: Request, name: str) -> Response:
    """A file that belongs to it."""
    return FILES.asset(request, name)
