"""The clock of a process, compared with the database's."""

import time
from typing import Any

import pytest

from consumer.monitoring.health import Health
from consumer.monitoring.metrics import Metrics
from consumer.pipeline.clock import TOLERANCE_SECONDS, Clock
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


async def test_a_clock_that_was_not_compared_does_not_agree(clock: Clock, times: Times) -> None:
    times.answer_takes = float("inf")
    await clock.compare()
    assert not clock.agrees()


@pytest.mark.parametrize(
    ("ahead", "expected"),
    [(0, None), (TOLERANCE_SECONDS, None), (-TOLERANCE_SECONDS, None), (600, "600 s ahead of"), (-61, "61 s behind")],
)
@pytest.mark.parametrize("answer_takes", [0.0, 1.5])
async def test_a_clock_agrees_within_a_minute_and_the_reason_says_how_far_it_is_off(
    clock: Clock, times: Times, health: Health, ahead: float, expected: str | None, answer_takes: float
) -> None:
    times.process += ahead
    times.answer_takes = answer_takes
    await clock.compare()
    assert clock.agrees() == (expected is None)
    assert clock._metrics.clock_offset._value.get() == pytest.approx(ahead)
    reason = health.ready().get("clock")
    assert (expected in reason) if expected and reason else reason is None


async def test_a_jump_between_two_comparisons_is_found_at_once_and_ends_with_the_correction(
    clock: Clock, times: Times, health: Health
) -> None:
    await clock.compare()
    times.pass_by(3600)
    assert clock.agrees()
    times.process += 90
    assert not clock.agrees()
    assert "clock" in health.ready()
    times.answer_takes = float("inf")
    await clock.compare()
    assert not clock.agrees(), "an unavailable database changes nothing"
    times.process -= 89
    assert clock.agrees()
    assert "clock" not in health.ready()


async def test_an_answer_that_took_long_is_not_used(clock: Clock, times: Times) -> None:
    times.answer_takes = 30.0
    await clock.compare()
    assert not clock.agrees()
