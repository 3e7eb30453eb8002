"""The web page: the files of `api/page/`, and the chart library from the installed plotly package."""

from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request, Response

from api.static_files import Files, files_in, files_of_package

# No inline scripts or styles, and nothing from other origins. api/page/charts.js and index.html explain how Plotly works with it.
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
    return FILES.page(request)


@router.get("/assets/{name}")
def asset(request: Request, name: str) -> Response:
    return FILES.asset(request, name)
