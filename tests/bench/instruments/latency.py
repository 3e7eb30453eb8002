"""Latency of requests that are sent one at a time."""

import time
from collections.abc import Callable

from tests.bench.instruments.results import Result, percentiles
from tests.bench.setup.harness import Harness


def seconds_of(request: Callable[[], None], requests: int) -> list[float]:
    """Seconds of each of so many requests; `request` sends one and raises an error when the answer is wrong."""
    seconds = []
    for _ in range(requests):
        started = time.perf_counter()
        request()
        seconds.append(time.perf_counter() - started)
    return seconds


def latency_result(harness: Harness, measure: str, run: int, seconds: list[float]) -> Result:
    """p99 in milliseconds, with p50 and the slowest request in its details."""
    p50, p99 = percentiles(seconds)
    harness.log_progress(f"{measure}, run {run}: p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    details = {"p50_ms": round(p50, 3), "slowest_ms": round(max(seconds) * 1000, 3), "requests": len(seconds)}
    return Result(measure=f"{measure}_p99", value=round(p99, 3), unit="ms", run=run, details=details)


def require(correct: bool, error: str) -> None:
    """Raises RuntimeError unless an answer is correct: a measure of wrong answers is no figure."""
    if not correct:
        raise RuntimeError(f"the answer is wrong: {error}")
