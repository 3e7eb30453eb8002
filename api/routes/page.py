"""The web page: `api/page/` as it lies there, and the chart library out of the installed plotly package."""

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from fastapi import APIRouter, HTTPException, Request, Response

PAGE: Final = Path(__file__).parents[1] / "page"
INDEX: Final = "index.html"
PLOTLY: Final = "plotly.min.js"
MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
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
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",  # asked about every time, answered with 304 while nothing has changed
    "Vary": "Accept-Encoding",
}
router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is served: whole, and compressed."""

    media_type: str
    content: bytes
    compressed: bytes
    etag: str


def _files() -> dict[str, Path]:
    """What may be asked for, by name: nothing else is ever looked for on the disk."""
    files = {path.name: path for path in PAGE.iterdir() if path.suffix in MEDIA_TYPES}
    plotly = find_spec("plotly")
    if plotly is None or plotly.origin is None:
        raise RuntimeError("the package plotly is not installed: pip install -r requirements.lock")
    return files | {PLOTLY: Path(plotly.origin).parent / "package_data" / PLOTLY}


FILES: Final = _files()


@router.get("/")
def page(request: Request) -> Response:
    """The page."""
    return _answer(request, INDEX)


@router.get("/assets/{name}")
def asset(request: Request, name: str) -> Response:
    """A file that belongs to the page."""
    if name not in FILES or name == INDEX:
        raise HTTPException(404, f"the page has no file {name}")
    return _answer(request, name)


def _answer(request: Request, name: str) -> Response:
    found = _asset(name)
    headers = HEADERS | {"ETag": found.etag}
    if found.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(found.compressed, headers=headers | {"Content-Encoding": "gzip"}, media_type=found.media_type)
    return Response(found.content, headers=headers, media_type=found.media_type)


@cache
def _asset(name: str) -> Asset:
    """Read and compressed once; weak tags, for the same one stands for both forms."""
    path = FILES[name]
    content = path.read_bytes()
    etag = f'W/"{hashlib.sha256(content).hexdigest()[:32]}"'
    return Asset(MEDIA_TYPES[path.suffix], content, gzip.compress(content, mtime=0), etag)
