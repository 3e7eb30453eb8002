"""Files for browsers, as they lie there: named, read and compressed once, asked about again with their tags."""

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
    """A file as it is served: whole, and compressed."""

    media_type: str
    content: bytes
    compressed: bytes
    etag: str


@dataclass(frozen=True, slots=True)
class Files:
    """What may be asked for, by name: nothing else is ever looked for on the disk. All of it bears the same policy."""

    paths: Mapping[str, Path]
    policy: str

    def page(self, request: Request) -> Response:
        """The page itself, or 304 where the browser has it already."""
        return self._answer(request, INDEX)

    def asset(self, request: Request, name: str) -> Response:
        """A file that belongs to the page, likewise.

        Raises:
            HTTPException: 404, there is no such file.
        """
        if name not in self.paths or name == INDEX:
            raise HTTPException(404, f"the page has no file {name}")
        return self._answer(request, name)

    def _answer(self, request: Request, name: str) -> Response:
        found = _asset(self.paths[name])
        headers = {
            "Content-Security-Policy": self.policy,
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cache-Control": "no-cache",  # asked about every time, answered with 304 while nothing has changed
            "Vary": "Accept-Encoding",
            "ETag": found.etag,
        }
        if found.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(
                found.compressed, headers=headers | {"Content-Encoding": "gzip"}, media_type=found.media_type
            )
        return Response(found.content, headers=headers, media_type=found.media_type)


def served(directory: Path) -> dict[str, Path]:
    """The files of a directory that a browser can be given."""
    return {path.name: path for path in directory.iterdir() if path.suffix in MEDIA_TYPES}


def of_package(package: str, directory: str, *names: str) -> dict[str, Path]:
    """Files that an installed package keeps for browsers. It is not imported.

    Raises:
        RuntimeError: it is not installed, or has no such files.
    """
    found = find_spec(package)
    where = Path(found.origin).parent / directory if found and found.origin else Path()
    paths = {name: where / name for name in names}
    if not all(path.is_file() for path in paths.values()):
        raise RuntimeError(f"the package {package} is not installed as it should be: pip install -r requirements.lock")
    return paths


@cache
def _asset(path: Path) -> Asset:
    """Weak tags, for the same one stands for both forms."""
    content = path.read_bytes()
    etag = f'W/"{hashlib.sha256(content).hexdigest()[:32]}"'
    return Asset(MEDIA_TYPES[path.suffix], content, gzip.compress(content, mtime=0), etag)
