"""The encoding for binary COPY, bit for bit. That PostgreSQL reads it is checked by every integration test that writes."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from struct import unpack_from
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from consumer.storage.copy_encoding import ROWS_PER_CHUNK, encode_copy

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
Row = tuple[Any, ...]
devices = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=20)
zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
instants = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=zones)  # noqa: DTZ001 - hypothesis adds the zone
numbers = st.floats(allow_nan=False)


def rows(values: int) -> st.SearchStrategy[list[Row]]:
    return st.lists(st.tuples(devices, instants, *[numbers] * values), min_size=1, max_size=30).map(sorted)


def encoded(given_rows: list[Row]) -> bytes:
    async def join() -> bytes:
        return b"".join([chunk async for chunk in encode_copy(given_rows)])

    return asyncio.run(join())


def decoded(content: bytes) -> Iterator[Row]:
    """The rows of a binary COPY, according to the description of the format."""
    assert content.startswith(HEADER)
    at = len(HEADER)
    while (columns := unpack_from(">h", content, at)[0]) != -1:
        at, fields = at + 2, []
        for _ in range(columns):
            size = unpack_from(">i", content, at)[0]
            fields.append(content[at + 4 : at + 4 + size])
            at += 4 + size
        device, instant, *values = fields
        (microseconds,) = unpack_from(">q", instant)
        yield (
            device.decode(),
            EPOCH + timedelta(microseconds=microseconds),
            *(unpack_from(">d", value)[0] for value in values),
        )
    assert at + 2 == len(content)


@given(rows(2) | rows(3))
def test_rows_are_encoded_completely_and_in_order(some: list[Row]) -> None:
    assert list(decoded(encoded(some))) == some


def test_rows_of_several_chunks_are_encoded_completely() -> None:
    some = [
        (f"VEH-{each // 7}", EPOCH + timedelta(seconds=each), 1.5, 2.5, 3.5) for each in range(2 * ROWS_PER_CHUNK + 1)
    ]
    assert list(decoded(encoded(some))) == some
