"""The documents of the API: `api/documents/`, and the viewer (Swagger UI) out of the installed package that carries it."""

from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request, Response

from api.files import Files, of_package, served
from api.routes.page import POLICY

ROOM: Final = Path(__file__).parents[1]
VIEWER: Final = ("swagger-ui-bundle.js", "swagger-ui.css")
FILES: Final = Files(
    served(ROOM / "documents")
    | {"icon.svg": ROOM / "page" / "icon.svg"}
    | {name: of_package("fastapi_offline", "static") / name for name in VIEWER},
    POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'"),  # the viewer styles its own elements
)
router = APIRouter(include_in_schema=False)


@router.get("/docs")
def documents(request: Request) -> Response:
    """The page."""
    return FILES.answer(request, "index.html")


@router.get("/docs/{name}")
def asset(request: Request, name: str) -> Response:
    """A file that belongs to it."""
    return FILES.answer(request, name)
