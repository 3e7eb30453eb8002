"""The retry policy: without end for the errors named, at once for cancellation and all other errors."""

import asyncio

import pytest

from consumer import retry
from consumer.retry import retry_forever

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT_SECONDS", 0.0)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_named_error_is_retried_beyond_any_limit() -> None:
    attempts = 0
    async for attempt in retry_forever(ConnectionError):
        with attempt:
            attempts += 1
            if attempts < 3000:  # the exponential wait has left the range of a float long before
                raise ConnectionResetError
    assert attempts == 3000


async def test_every_wait_is_between_half_and_all_of_the_doubling_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    bounds: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(retry, "FIRST_WAIT_SECONDS", 0.1)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    async for attempt in retry_forever(ConnectionError):
        with attempt:
            if len(waits) < 50:
                bounds.append(attempt.next_wait)
                raise ConnectionResetError
    assert bounds == [min(0.1 * 2**number, 5.0) for number in range(50)]
    assert all(bound / 2 <= wait <= bound for wait, bound in zip(waits, bounds, strict=True))
    assert len(set(waits)) == 50, "no two consumers keep step, however long the outage"


@pytest.mark.parametrize("error", [ValueError, BrokenPipeError])
async def test_errors_that_are_not_named_or_excluded_are_raised(error: type[Exception]) -> None:
    attempts = 0

    async def work() -> None:
        nonlocal attempts
        async for attempt in retry_forever(ConnectionError, unless=lambda error: isinstance(error, BrokenPipeError)):
            with attempt:
                attempts += 1
                raise error

    with pytest.raises(error):
        await work()
    assert attempts == 1


async def test_a_cancelled_attempt_is_not_retried() -> None:
    attempts = 0
    attempted = asyncio.Event()

    async def work() -> None:
        nonlocal attempts
        async for attempt in retry_forever(Exception):
            with attempt:
                attempts += 1
                attempted.set()
                await asyncio.Event().wait()

    working = asyncio.create_task(work())
    await attempted.wait()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert attempts == 1
