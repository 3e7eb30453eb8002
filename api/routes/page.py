"""The web page: `api/page/` as it lies there, and the chart library out of the installed plotly package."""

from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request, Response

from api.static_files import Files, files_in, files_of_package

# Nothing inline, nothing from elsewhere; how Plotly gets along with that: api/page/charts.js and index.html.
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
FILES: Final = Files(
    files_in(Path(__file__).parents[1] / "page") | files_of_package("plotly", "package_data", "plotly.min.js"), POLICY
)
router = APIRouter(include_in_schema=False)


@router.get("/")
def page(request: Request) -> Response:
    """The page."""
    return FILES.page(request)


@router.get("/assets/{name}")
def asset(request: Request, name: str) -> Response:
    """A file that belongs to the page."""
    return FILES.asset(request, name)
