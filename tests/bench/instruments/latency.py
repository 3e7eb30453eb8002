"""Latency of requests that are sent one at a time."""

import time
from collections.abc import Callable
from typing import Final

import msgspec
import psutil

from tests.bench.instruments.cpu_time import CpuTime
from tests.bench.instruments.results import Result, percentiles
from tests.bench.setup.harness import Harness

CPU_DETAILS: Final = {"service_cpu_ms": "client_cpu_us_per_record", "postgres_cpu_ms": "postgres_cpu_us_per_record"}


def measure_latency(harness: Harness, measure: str, run: int, request: Callable[[], None], requests: int) -> Result:
    """The latency of so many requests to a read service of ours.

    The CPU time of the service and of our own PostgreSQL is in the details: other work on the machine hardly changes it.
    """
    services = [each for each in psutil.Process().children(recursive=True) if each.cmdline()[1:3] == ["-m", "api"]]
    before = CpuTime.now(harness.stack, services)
    result = latency_result(harness, measure, run, seconds_of(request, requests))
    cpu = CpuTime.now(harness.stack, services).per_record(before, requests)
    details = {name: round(cpu[of] / 1000, 3) for name, of in CPU_DETAILS.items() if of in cpu}
    return msgspec.structs.replace(result, details=result.details | details)


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
