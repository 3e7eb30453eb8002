"""The clock of a process, compared with the database's."""

import asyncio
import time
from typing import Any

import pytest

from consumer.monitoring.health import Health
from consumer.monitoring.metrics import Metrics
from consumer.pipeline.clock import Clock
from sql.queries import queries

pytestmark = pytest.mark.anyio
TODAY = 1_800_000_000.0


class Times:
    """The three clocks, in seconds: of the process, monotonic, and of the database (None: it does not answer)."""

    def __init__(self) -> None:
        self.process, self.monotonic, self.database, self.answer_takes = TODAY, 500.0, TODAY, 0.0

    def pass_by(self, seconds: float) -> None:
        self.process, self.monotonic, self.database = (
            each + seconds for each in (self.process, self.monotonic, self.database)
        )


class Connection:
    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, *error: object) -> None:
        return None


class Pool:
    def acquire(self) -> Connection:
        return Connection()


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> Times:
    times = Times()

    async def time_of_day(connection: Any) -> dict[str, float]:
        if times.answer_takes == float("inf"):
            raise ConnectionResetError
        times.pass_by(times.answer_takes / 2)
        answer = times.database
        times.pass_by(times.answer_takes / 2)
        return {"seconds": answer}

    monkeypatch.setattr(time, "time", lambda: times.process)
    monkeypatch.setattr(time, "monotonic", lambda: times.monotonic)
    monkeypatch.setattr(queries, "time_of_day", time_of_day)
    return times


@pytest.fixture
def health(times: Times) -> Health:
    return Health()


@pytest.fixture
def clock(times: Times, health: Health) -> Clock:
    return Clock(Pool(), Metrics(), health)  # type: ignore[arg-type]


def is_paused(clock: Clock) -> bool:
    return bool(clock._metrics.paused.labels("clock")._value.get())


async def test_readiness_names_the_clock_from_the_start_until_the_first_comparison(
    clock: Clock, times: Times, health: Health
) -> None:
    assert "clock" in health.ready()
    times.answer_takes = float("inf")
    await clock.compare()
    assert not clock.agrees()
    assert "clock" in health.ready()
    assert is_paused(clock)
    times.answer_takes = 0.0
    await clock.compare()
    assert clock.agrees()
    assert "clock" not in health.ready()
    assert not is_paused(clock)


@pytest.mark.parametrize(
    ("ahead", "expected"),
    [(0, None), (58, None), (-58, None), (600, "600 s ahead of"), (-62, "62 s behind")],
)
@pytest.mark.parametrize("answer_takes", [0.0, 1.5])
async def test_a_clock_agrees_within_a_minute_and_the_reason_blames_neither_clock(
    clock: Clock, times: Times, health: Health, ahead: float, expected: str | None, answer_takes: float
) -> None:
    times.process += ahead
    times.answer_takes = answer_takes
    await clock.compare()
    assert clock.agrees() == (expected is None)
    assert is_paused(clock) == (expected is not None)
    assert clock._metrics.clock_offset._value.get() == pytest.approx(ahead)
    reason = health.ready().get("clock")
    assert (reason is None) == (expected is None)
    assert expected is None or (reason and expected in reason and "one of the two is wrong" in reason)


@pytest.mark.parametrize("answer_takes", [2.2, 30.0, 60.0])
async def test_a_slow_database_stops_no_consumer(
    clock: Clock, times: Times, health: Health, answer_takes: float
) -> None:
    times.answer_takes = answer_takes
    for _ in range(4):
        await clock.compare()
        times.pass_by(5)
    assert clock.agrees()
    assert "clock" not in health.ready()


async def test_an_answer_that_bounds_the_offset_by_less_than_enough_decides_nothing(
    clock: Clock, times: Times, health: Health
) -> None:
    times.answer_takes = 200.0
    await clock.compare()
    assert not clock.agrees()
    assert "has not been compared" in health.ready()["clock"]
    times.answer_takes = 0.0
    await clock.compare()
    assert clock.agrees()
    times.answer_takes = 200.0
    await clock.compare()
    assert clock.agrees(), "an earlier answer has said more"
    times.process += 600
    times.answer_takes = 60.0
    await clock.compare()
    assert not clock.agrees()
    assert "600 s ahead of" in health.ready()["clock"]


async def test_a_jump_between_two_comparisons_is_found_at_once_and_compared_before_it_is_called_wrong(
    clock: Clock, times: Times, health: Health
) -> None:
    await clock.compare()
    times.pass_by(3600)
    assert clock.agrees()
    times.process += 90
    assert not clock.agrees()
    assert "has jumped by 90 s" in health.ready()["clock"]
    assert is_paused(clock)
    times.answer_takes = float("inf")
    await clock.compare()
    assert not clock.agrees(), "an unavailable database changes nothing"
    times.answer_takes = 0.0
    await clock.compare()
    assert not clock.agrees()
    assert "90 s ahead of" in health.ready()["clock"]
    times.process -= 89
    await clock.compare()
    assert clock.agrees()
    assert "clock" not in health.ready()


async def test_a_machine_that_was_suspended_has_a_right_clock(clock: Clock, times: Times, health: Health) -> None:
    await clock.compare()
    times.process, times.database = times.process + 3600, times.database + 3600  # its monotonic clock stood still
    assert not clock.agrees()
    assert "wrong" not in health.ready()["clock"]
    await clock.compare()
    assert clock.agrees()
    assert "clock" not in health.ready()


async def test_a_jump_is_compared_at_once(clock: Clock, times: Times) -> None:
    """The monotonic clock stands still here, so that no wait for the next comparison would end."""
    comparing = asyncio.create_task(clock.keep_comparing())
    try:
        assert await _agrees_soon(clock)
        times.process, times.database = times.process + 3600, times.database + 3600
        assert not clock.agrees()
        assert await _agrees_soon(clock)
    finally:
        comparing.cancel()


async def _agrees_soon(clock: Clock) -> bool:
    for _ in range(20):  # turns of the event loop
        await asyncio.sleep(0)
    return clock.agrees()
