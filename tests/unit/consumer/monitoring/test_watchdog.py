"""Liveness and the watchdog: a stuck event loop is reported with its stacks, then the process ends."""

import time

import pytest

from consumer.monitoring.health import STUCK_AFTER_SECONDS, Health
from consumer.monitoring.watchdog import EXIT_AFTER_CHECKS, EXIT_CODE, REPORT_AFTER_CHECKS, Watchdog


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A monotonic clock that the test sets."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_running_event_loop_is_left_alone_and_a_stuck_one_ends_the_process(
    clock: list[float], capfd: pytest.CaptureFixture[str]
) -> None:
    health, exits = Health(), list[int]()
    watchdog = Watchdog(health, exits.append)
    for _ in range(EXIT_AFTER_CHECKS * 2):
        clock[0] += 1
        health.beat()
        watchdog.check()
    assert exits == []

    clock[0] += STUCK_AFTER_SECONDS
    for checks in range(1, EXIT_AFTER_CHECKS + 1):
        clock[0] += 1
        watchdog.check()
        assert ("Current thread" in capfd.readouterr().err) == (checks == REPORT_AFTER_CHECKS)
        assert exits == ([EXIT_CODE] if checks == EXIT_AFTER_CHECKS else [])
    assert "stuck" in health.live()


def test_a_suspended_machine_does_not_count_as_a_stuck_event_loop(clock: list[float]) -> None:
    health, exits = Health(), list[int]()
    watchdog = Watchdog(health, exits.append)
    for _ in range(EXIT_AFTER_CHECKS * 2):
        clock[0] += 3600
        watchdog.check()
        health.beat()
        watchdog.check()
    assert exits == []


def test_a_process_that_waits_for_the_database_is_live_and_not_ready() -> None:
    health = Health()
    health.unblock("starting")
    assert (health.live(), health.ready()) == ({}, {})
    health.block("database", "it is away")
    assert (health.live(), health.ready()) == ({}, {"database": "it is away"})
