"""Static files of the web page and the API documentation: an allowlist, compressed once, revalidated by ETag.

Starlette's StaticFiles would lose three things: compression (plotly.min.js takes 1.5 MB instead of 4.8 MB; GZipMiddleware would
spend 0.4 s on it at every request), an ETag of the content (StaticFiles derives it from the modification time, which differs
between machines), and the allowlist (it serves whole directories).
"""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from fastapi import HTTPException, Request, Response

INDEX: Final = "index.html"
MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file in memory, with its gzip form."""

    media_type: str
    content: bytes
    compressed: bytes
    etag: str


@dataclass(frozen=True, slots=True)
class Files:
    """The files that can be requested, by name, and their content security policy. No other path is ever opened."""

    paths: Mapping[str, Path]
    policy: str

    def page(self, request: Request) -> Response:
        return self._respond(request, INDEX)

    def asset(self, request: Request, name: str) -> Response:
        """A file other than the page itself.

        Raises:
            HTTPException: 404, there is no such file.
        """
        if name not in self.paths or name == INDEX:
            raise HTTPException(404, f"there is no file {name}")
        return self._respond(request, name)

    def _respond(self, request: Request, name: str) -> Response:
        asset = _load(self.paths[name])
        headers = {
            "Content-Security-Policy": self.policy,
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cache-Control": "no-cache",  # revalidated at every use: 304 while the file has not changed
            "Vary": "Accept-Encoding",
            "ETag": asset.etag,
        }
        if asset.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(
                asset.compressed, headers=headers | {"Content-Encoding": "gzip"}, media_type=asset.media_type
            )
        return Response(asset.content, headers=headers, media_type=asset.media_type)


def files_in(directory: Path) -> dict[str, Path]:
    """The files of a directory that have a media type for browsers."""
    return {path.name: path for path in directory.iterdir() if path.suffix in MEDIA_TYPES}


def files_of_package(package: str, directory: str, *names: str) -> dict[str, Path]:
    """Files in a directory of an installed package, which is not imported.

    Raises:
        RuntimeError: the package is not installed, or lacks one of the files.
    """
    spec = find_spec(package)
    parent = Path(spec.origin).parent / directory if spec and spec.origin else Path()
    paths = {name: parent / name for name in names}
    if not all(path.is_file() for path in paths.values()):
        raise RuntimeError(f"the package {package} is missing or incomplete: pip install -r requirements.lock")
    return paths


@cache
def _load(path: Path) -> Asset:
    content = path.read_bytes()
    etag = f'W/"{hashlib.sha256(content).hexdigest()[:32]}"'  # weak: one tag for the plain and the compressed form
    return Asset(MEDIA_TYPES[path.suffix], content, gzip.compress(content, mtime=0), etag)
