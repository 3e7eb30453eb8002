"""Exports: negotiated by Accept, and sent page by page."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow.parquet as pq
import pytest

from api.archive import exports
from api.archive.exports import CSV, PARQUET, export_readings, export_type

pytestmark = pytest.mark.anyio

BEGIN = datetime(2026, 2, 9, 15, 30, tzinfo=UTC)
COLUMNS = {"recorded_at": "recordedAt", "kwh": "kwhConsumedAc"}


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, None),
        ("", None),
        ("*/*", None),
        ("application/json, text/csv", None),
        ("text/csv", CSV),
        ("text/html, TEXT/CSV; header=present;q=0.5, */*", CSV),
        ("application/vnd.apache.parquet, application/json", PARQUET),
        ("image/png", None),
    ],
)
def test_the_accept_header_decides(accept: str | None, expected: str | None) -> None:
    assert export_type(accept) == expected


def readings(number: int) -> list[dict[str, Any]]:
    return [{"recorded_at": BEGIN + timedelta(minutes=each), "kwh": each / 8} for each in range(number)]


class Pages:
    """Serves readings from an instant on, and counts how often."""

    def __init__(self, number: int) -> None:
        self._readings = readings(number)
        self.read = 0

    async def __call__(self, opens: datetime) -> list[dict[str, Any]]:
        self.read += 1
        return [row for row in self._readings if row["recorded_at"] >= opens][: exports.READINGS_PER_PAGE]


async def sent(media_type: str, pages: Pages) -> list[bytes]:
    response = await export_readings(media_type, ("meterId", "METER-1"), COLUMNS, BEGIN, pages)
    assert response.headers["content-disposition"].startswith('attachment; filename="METER-1.')
    return [bytes(chunk) async for chunk in response.body_iterator if not isinstance(chunk, str)]


@pytest.mark.parametrize("number", [0, 1, 9, 10, 11, 25])
async def test_every_reading_is_sent_once(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(exports, "READINGS_PER_PAGE", 10)
    pages = Pages(number)
    lines = b"".join(await sent(CSV, pages)).decode().splitlines()
    assert pages.read == number // 10 + 1
    assert lines[0] == "meterId,recordedAt,kwhConsumedAc"
    assert lines[1:] == [
        f"METER-1,{row['recorded_at'].isoformat().replace('+00:00', 'Z')},{row['kwh']}" for row in readings(number)
    ]
    table = pq.read_table(io.BytesIO(b"".join(await sent(PARQUET, Pages(number)))))
    assert [(row["recordedAt"], row["kwhConsumedAc"]) for row in table.to_pylist()] == [
        (row["recorded_at"], row["kwh"]) for row in readings(number)
    ]
    assert set(table["meterId"].to_pylist()) == ({"METER-1"} if number else set())


async def test_a_page_is_sent_before_the_next_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "READINGS_PER_PAGE", 10)
    for media_type in (CSV, PARQUET):
        pages = Pages(25)
        response = await export_readings(media_type, ("meterId", "METER-1"), COLUMNS, BEGIN, pages)
        assert await anext(aiter(response.body_iterator))
        assert pages.read == 1


async def test_an_error_of_the_first_page_is_raised_before_anything_is_sent() -> None:
    async def fail(_: datetime) -> list[dict[str, Any]]:
        raise LookupError("no archive")

    with pytest.raises(LookupError):
        await export_readings(CSV, ("meterId", "METER-1"), COLUMNS, BEGIN, fail)
