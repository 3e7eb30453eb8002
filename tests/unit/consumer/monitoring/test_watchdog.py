"""Live is a loop that moves; one that stands still is ended, after it was said where it stands."""

import time

import pytest

from consumer.monitoring.health import STUCK_AFTER_SECONDS, Health
from consumer.monitoring.watchdog import EXIT_AFTER_CHECKS, EXIT_CODE, REPORT_AFTER_CHECKS, Watchdog


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands where it is put."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_loop_that_moves_is_left_alone_and_one_that_does_not_is_ended(
    clock: list[float], capfd: pytest.CaptureFixture[str]
) -> None:
    health, ended = Health(), list[int]()
    watchdog = Watchdog(health, ended.append)
    for _ in range(EXIT_AFTER_CHECKS * 2):
        clock[0] += 1
        health.beat()
        watchdog.check()
    assert ended == []

    clock[0] += STUCK_AFTER_SECONDS
    for checks in range(1, EXIT_AFTER_CHECKS + 1):
        clock[0] += 1
        watchdog.check()
        assert ("Current thread" in capfd.readouterr().err) == (checks == REPORT_AFTER_CHECKS)
        assert ended == ([EXIT_CODE] if checks == EXIT_AFTER_CHECKS else [])
    assert "stuck" in health.live()


def test_a_machine_that_was_asleep_is_no_stuck_loop(clock: list[float]) -> None:
    health, ended = Health(), list[int]()
    watchdog = Watchdog(health, ended.append)
    for _ in range(EXIT_AFTER_CHECKS * 2):
        clock[0] += 3600
        watchdog.check()
        health.beat()
        watchdog.check()
    assert ended == []


def test_waiting_is_live_and_not_ready() -> None:
    health = Health()
    health.unblock("starting")
    assert (health.live(), health.ready()) == ({}, {})
    health.block("database", "it is away")
    assert (health.live(), health.ready()) == ({}, {"database": "it is away"})
