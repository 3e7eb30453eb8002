"""Rows encoded as binary COPY (PostgreSQL manual: COPY, "Binary Format").

The rows consist of a device id, an instant and two or three numbers. asyncpg can encode them too, one value at a time, and takes
more than twice as long: it compares each instant with both infinities and converts it to UTC.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from struct import Struct, pack
from typing import Final

from consumer.records.record_type import DEVICE, Row

ROWS_PER_CHUNK: Final = 5_000  # takes a few milliseconds, so that encoding does not delay heartbeats
_HEADER: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_TRAILER: Final = b"\xff\xff"
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_SIZE: Final = 8  # bytes of a double precision, and of a timestamptz
_pack_two: Final = Struct(">qidid").pack
_pack_three: Final = Struct(">qididid").pack
_device: Final = itemgetter(DEVICE)
_after_device: Final[dict[int, Callable[[Iterable[Row]], list[bytes]]]] = {
    4: lambda rows: [
        _pack_two((at - _EPOCH) // _MICROSECOND, _SIZE, first, _SIZE, second) for _, at, first, second in rows
    ],
    5: lambda rows: [
        _pack_three((at - _EPOCH) // _MICROSECOND, _SIZE, first, _SIZE, second, _SIZE, third)
        for _, at, first, second, third in rows
    ],
}


async def encode_copy(rows: list[Row]) -> AsyncIterator[bytes]:
    """Encode rows of (device id, instant, two or three numbers), grouped by device; other tasks run between the chunks."""
    yield _HEADER
    for start in range(0, len(rows), ROWS_PER_CHUNK):
        yield _encode(rows[start : start + ROWS_PER_CHUNK])
        await asyncio.sleep(0)
    yield _TRAILER


def _encode(rows: list[Row]) -> bytes:
    columns = len(rows[0])
    after_device, parts = _after_device[columns], []
    for device, of_device in groupby(rows, _device):
        name = device.encode()
        row_start = pack(f">hi{len(name)}si", columns, len(name), name, _SIZE)
        parts.append(row_start + row_start.join(after_device(of_device)))
    return b"".join(parts)
