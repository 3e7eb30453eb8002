"""Numbers and instants as series: whatever is encoded is decoded bit for bit, all of it and any part."""

import asyncio
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Any, Final

import asyncpg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.database import Database

PROPERTY: Final = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND: Final = timedelta(milliseconds=1)
MIDNIGHT: Final = datetime(2026, 2, 28, tzinfo=UTC)
AWKWARD: Final = [0.0, -0.0, 5e-324, 0.1 + 0.2, 1 / 3, 1e9, 9.1e15, 32767.0, 32768.0, -32769.0, 2147483648.0]

decimal = st.builds(lambda digits, places: digits / 10**places, st.integers(-(10**9), 10**9), st.integers(0, 10))
double = st.floats(allow_nan=False, allow_infinity=False)
# like a battery's charge: little changes from one to the next
slow = st.lists(st.integers(-3, 3), min_size=20).map(
    lambda steps: [40 + sum(steps[:n]) / 10 for n in range(len(steps))]
)
missing = st.none()
numbers = st.one_of(
    st.lists(decimal), st.lists(double), st.lists(decimal | st.sampled_from(AWKWARD)), st.lists(decimal | missing), slow
)
any_instant = st.datetimes(datetime(1960, 1, 1), datetime(9000, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - has a zone
positions = st.integers(1, 70)
microseconds_between = st.just(60_000_000) | st.integers(1, 90_000_000) | st.integers(1, 10**10)


class Server:
    """A connection that a property test can use between its examples."""

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        self._connection = self._runner.run(asyncpg.connect(url))

    def value(self, query: str, *arguments: Any) -> Any:
        """The first column of the first row."""
        return self._runner.run(self._connection.fetchval(query, *arguments))

    def close(self) -> None:
        self._runner.run(self._connection.close())
        self._runner.close()


@pytest.fixture
def server(database: Database) -> Iterator[Server]:
    opened = Server(database.migrator_url)
    yield opened
    opened.close()


def bits(values: list[float | None]) -> list[bytes | None]:
    """Each double as its eight bytes, which differ for 0.0 and -0.0."""
    return [None if value is None else struct.pack(">d", value) for value in values]


def given_instants(between: list[int], start: int) -> list[datetime]:
    """The first after so many microseconds of a day, and each of the others so many after the one before."""
    return [MIDNIGHT + timedelta(microseconds=start + passed) for passed in accumulate(between, initial=0)]


def test_numbers_come_back_bit_for_bit(server: Server) -> None:
    @PROPERTY
    @given(given_numbers=numbers)
    @example(given_numbers=AWKWARD)
    @example(given_numbers=[n / 1e6 for n in range(1440)])
    @example(given_numbers=[1e15, 1e15 + 2, -9e15])
    def check(given_numbers: list[float | None]) -> None:
        decoded = server.value("SELECT decode_series(encode_series($1::double precision[]))", given_numbers)
        if all(number is None for number in given_numbers):
            assert decoded is None
        else:
            assert bits(decoded) == bits(given_numbers)

    check()


def test_instants_come_back_to_the_microsecond(server: Server) -> None:
    @PROPERTY
    @given(between=st.lists(microseconds_between, max_size=60), start=st.integers(0, 86_399_999_999))
    @example(between=[60_000_000] * 1439, start=0)
    @example(between=[1] * 20, start=86_399_999_000)
    def check(between: list[int], start: int) -> None:
        instants = given_instants(between, start)
        assert server.value("SELECT decode_instants(encode_instants($1::timestamptz[]))", instants) == instants

    check()


def test_a_part_of_the_numbers_comes_back_bit_for_bit(server: Server) -> None:
    @PROPERTY
    @given(given_numbers=numbers, first=positions, last=positions)
    @example(given_numbers=AWKWARD, first=2, last=7)
    @example(given_numbers=[n / 1e6 for n in range(1440)], first=601, last=660)
    @example(given_numbers=[n * 1e5 for n in range(1440)], first=601, last=660)
    @example(given_numbers=[n * 1e10 for n in range(1440)], first=601, last=660)
    def check(given_numbers: list[float | None], first: int, last: int) -> None:
        query = "SELECT decode_series(encode_series($1::double precision[]), $2, $3)"
        decoded = server.value(query, given_numbers, first, last)
        if all(number is None for number in given_numbers):
            assert decoded is None
        else:
            assert bits(decoded) == bits(given_numbers[first - 1 : last])

    check()


def test_a_part_of_the_instants_comes_back_to_the_microsecond(server: Server) -> None:
    @PROPERTY
    @given(
        between=st.lists(microseconds_between, max_size=60),
        start=st.integers(0, 86_399_999_999),
        first=positions,
        last=positions,
    )
    @example(between=[60_000_000] * 1439, start=0, first=601, last=660)
    @example(between=[60_000_000] * 700 + [120_000_000] + [60_000_000] * 738, start=0, first=701, last=702)
    def check(between: list[int], start: int, first: int, last: int) -> None:
        instants = given_instants(between, start)
        query = "SELECT decode_instants(encode_instants($1::timestamptz[]), $2, $3)"
        assert server.value(query, instants, first, last) == instants[first - 1 : last]

    check()


def test_delays_are_differences_of_whole_milliseconds(server: Server) -> None:
    @PROPERTY
    @given(earlier=any_instant, later=any_instant)
    @example(earlier=EPOCH - timedelta(microseconds=500), later=datetime(9000, 1, 1, microsecond=999, tzinfo=UTC))
    @example(earlier=MIDNIGHT + timedelta(microseconds=999), later=MIDNIGHT + timedelta(microseconds=1000))
    def check(earlier: datetime, later: datetime) -> None:
        expected = (later - EPOCH) // MILLISECOND - (earlier - EPOCH) // MILLISECOND
        assert server.value("SELECT whole_milliseconds($1, $2)", earlier, later) == expected

    check()


@pytest.mark.parametrize(
    ("given_numbers", "expected"),
    [
        pytest.param([n / 10 for n in (2301, 2299, 2304)], '(1,f,"{2301,2299,2304}",,,)', id="few-decimals"),
        pytest.param([100_000.5, 0.0, 7.5], '(1,f,,"{1000005,0,75}",,)', id="wide"),
        pytest.param([40 + n / 10 for n in range(9)], '(1,t,"{400,1,1,1,1,1,1,1,1}",,,)', id="slow"),
        pytest.param([1 / 3, 0.5], '(,,,,,"{0.3333333333333333,0.5}")', id="no-decimals-are-enough"),
        pytest.param([0.0, -0.0], '(,,,,,"{0,-0}")', id="signed-zero"),
    ],
)
def test_the_smallest_encoding_is_chosen(server: Server, given_numbers: list[float], expected: str) -> None:
    assert server.value("SELECT encode_series($1::double precision[])::text", given_numbers) == expected
