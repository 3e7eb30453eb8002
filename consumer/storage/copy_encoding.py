"""Rows encoded as binary COPY (PostgreSQL manual: COPY, "Binary Format").

The rows consist of a device id, an instant and two or three numbers. asyncpg can encode them too, one value at a time, and takes
more than twice as long: it compares each instant with both infinities and converts it to UTC.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import Final

from consumer.records.record_type import Row

ROWS_PER_CHUNK: Final = 5_000  # takes a few milliseconds, so that encoding does not delay heartbeats
_HEADER: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_TRAILER: Final = b"\xff\xff"
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_SIZE: Final = 8  # bytes of a double precision, and of a timestamptz
_ID_BYTES: Final = range(1, 65)
# By the bytes of the device id: packs the columns of a row, each after its size.
_PACK_TWO: Final = {size: Struct(f">hi{size}siqidid").pack for size in _ID_BYTES}
_PACK_THREE: Final = {size: Struct(f">hi{size}siqididid").pack for size in _ID_BYTES}


async def encode_copy(rows: list[Row]) -> AsyncIterator[bytes]:
    """Encode rows of (device id, instant, two or three numbers); other tasks run between the chunks."""
    yield _HEADER
    for start in range(0, len(rows), ROWS_PER_CHUNK):
        yield b"".join(_pack_rows[len(rows[0])](rows[start : start + ROWS_PER_CHUNK]))
        await asyncio.sleep(0)
    yield _TRAILER


def _pack_two_numbers(rows: list[Row]) -> list[bytes]:
    return [
        _PACK_TWO[len(name := device.encode())](
            4, len(name), name, _SIZE, (at - _EPOCH) // _MICROSECOND, _SIZE, first, _SIZE, second
        )
        for device, at, first, second in rows
    ]


def _pack_three_numbers(rows: list[Row]) -> list[bytes]:
    return [
        _PACK_THREE[len(name := device.encode())](
            5, len(name), name, _SIZE, (at - _EPOCH) // _MICROSECOND, _SIZE, first, _SIZE, second, _SIZE, third
        )
        for device, at, first, second, third in rows
    ]


_pack_rows: Final = {4: _pack_two_numbers, 5: _pack_three_numbers}
