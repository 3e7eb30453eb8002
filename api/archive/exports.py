"""History as CSV or Parquet: pages of the database -> bytes of the file, one page in memory at a time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from fastapi.responses import StreamingResponse

READINGS_PER_PAGE: Final = 5000
MICROSECOND: Final = timedelta(microseconds=1)
CSV: Final = "text/csv"
PARQUET: Final = "application/vnd.apache.parquet"
SUFFIXES: Final = {CSV: "csv", PARQUET: "parquet"}
JSON_TYPES: Final = {"application/json", "application/*", "*/*"}
# For the OpenAPI document, beside JSON.
CONTENT: Final[dict[str, Any]] = {
    CSV: {"schema": {"type": "string"}},
    PARQUET: {"schema": {"type": "string", "format": "binary"}},
}
Rows = Sequence[Mapping[str, Any]]
ReadFrom = Callable[[datetime], Awaitable[Rows]]


class _Format(Protocol):
    """Turns rows into the bytes of a file."""

    def add(self, rows: Sequence[Sequence[Any]]) -> bytes: ...

    def end(self) -> bytes: ...


def export_type(accept: str | None) -> str | None:
    """The media type of an export that an Accept header asks for before JSON; None: JSON."""
    for each in (accept or "").split(","):
        media_type = each.partition(";")[0].strip().lower()
        if media_type in SUFFIXES:
            return media_type
        if media_type in JSON_TYPES:
            return None
    return None


async def export_readings(
    media_type: str, device: tuple[str, str], columns: Mapping[str, str], opens: datetime, read: ReadFrom
) -> StreamingResponse:
    """All readings of a device from `opens` on. An error of the first page is raised; a later one ends the response early.

    Args:
        media_type: CSV or PARQUET.
        device: the name of the column of ids, and the id.
        columns: of the rows that `read` returns, with the names that they get. The first is the instant.
        opens: the first instant.
        read: the first READINGS_PER_PAGE readings from an instant on, in the order of instants.
    """
    first = await read(opens)
    headers = {"Content-Disposition": f'attachment; filename="{device[1]}.{SUFFIXES[media_type]}"'}
    body = _body(media_type, device, columns, first, read)
    return StreamingResponse(body, media_type=media_type, headers=headers)


async def _body(
    media_type: str, device: tuple[str, str], columns: Mapping[str, str], page: Rows, read: ReadFrom
) -> AsyncIterator[bytes]:
    file = await asyncio.to_thread(_open, media_type, [device[0], *columns.values()])
    while True:
        rows = [(device[1], *(row[name] for name in columns)) for row in page]
        yield await asyncio.to_thread(file.add, rows)
        if len(page) < READINGS_PER_PAGE:
            break
        page = await read(page[-1]["recorded_at"] + MICROSECOND)
    yield await asyncio.to_thread(file.end)


def _open(media_type: str, names: Sequence[str]) -> _Format:
    if media_type == CSV:
        return _Csv(names)
    from sql.archive.stream import ParquetStream  # noqa: PLC0415 - pyarrow is slow to load; only archives need it

    device, instant, *numbers = names
    return ParquetStream({device: "text", instant: "instant", **dict.fromkeys(numbers, "number")})


class _Csv:
    """CSV with a line of names. Instants are written as in JSON; no value needs quotes."""

    def __init__(self, names: Sequence[str]) -> None:
        self._head = ",".join(names) + "\r\n"

    def add(self, rows: Sequence[Sequence[Any]]) -> bytes:
        head, self._head = self._head, ""
        return (head + "".join(",".join(map(_text, row)) + "\r\n" for row in rows)).encode()

    def end(self) -> bytes:
        return b""


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return str(value)
