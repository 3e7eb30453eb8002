"""Limits of the machine in the same run: each stage in isolation and the bare loop, beside our consumer."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from typing import Final

import msgspec

from tests.bench.instruments.cpu_time import CpuTime
from tests.bench.instruments.results import Result, with_medians
from tests.bench.measures.drain import MINUTES, drain
from tests.bench.setup.backlog import Backlog, produce_backlog
from tests.bench.setup.harness import Harness
from tests.support.database import Database
from tests.support.repository import ROOT
from tests.support.services import service_environment

BARE_LOOP: Final = "tests.bench.programs.bare_loop"
ISOLATED_STAGES: Final = "tests.bench.programs.isolated_stages"
TIMEOUT_SECONDS: Final = 600
CREATE_OFFSETS_TABLE: Final = """
CREATE TABLE bench_offsets (topic text, partition integer, next_offset bigint NOT NULL, PRIMARY KEY (topic, partition));
GRANT SELECT, INSERT, UPDATE ON bench_offsets TO energy_writer"""
STORED_READINGS: Final = (
    "SELECT (SELECT count(*) FROM meter_telemetry_history) + (SELECT count(*) FROM vehicle_telemetry_history)"
)


class Line(msgspec.Struct):
    """One line of output of a program: which figure it is, and what it took."""

    what: str
    records: int
    seconds: float
    client_cpu_seconds: float

    @property
    def cpu(self) -> dict[str, float]:
        return {"client_cpu_us_per_record": round(self.client_cpu_seconds * 1e6 / self.records, 3)}


def measure(harness: Harness) -> Iterator[Result]:
    """Rates of each stage in isolation, the bare loop and our consumer; our ratios to the slowest stage and to the bare loop."""
    backlog = produce_backlog(harness, harness.scaled(MINUTES, minimum=2))
    yield from with_medians(_runs(harness, backlog))


def run_bare_loop_and_ours(harness: Harness, backlog: Backlog, run: int) -> tuple[Result, Result]:
    """One run of the bare loop and one of our consumer; the order alternates with the number of the run."""
    if run % 2:
        bare = _run_bare_loop(harness, backlog, run)
        return bare, drain(harness, backlog, run)
    ours = drain(harness, backlog, run)
    return _run_bare_loop(harness, backlog, run), ours


def ratio_result(measure: str, ours: Result, other: float, run: int) -> Result:
    """Our rate as a share of another rate of the same run."""
    ratio = round(ours.value / other, 4)
    return Result(measure=measure, value=ratio, unit="ratio", ratio=ratio, run=run)


def _runs(harness: Harness, backlog: Backlog) -> Iterator[Result]:
    for run in range(1, harness.runs + 1):
        stages = list(_run_isolated_stages(harness, backlog, run))
        yield from stages
        bare, ours = run_bare_loop_and_ours(harness, backlog, run)
        yield bare
        yield ours
        slowest = min(stage.value for stage in stages)
        yield ratio_result("drain_to_slowest_part", ours, slowest, run)
        yield ratio_result("drain_to_bare_loop", ours, bare.value, run)


def _run_bare_loop(harness: Harness, backlog: Backlog, run: int) -> Result:
    """One run of the bare loop into an empty database.

    Raises:
        RuntimeError: the database does not hold as many readings as the backlog.
    """
    with harness.empty_database() as database:
        before = CpuTime.now(harness.stack, ())
        (line,) = _run_program(harness, backlog, database, BARE_LOOP)
        after = CpuTime.now(harness.stack, ())
        stored = asyncio.run(database.value(STORED_READINGS))
    if stored != backlog.readings:
        raise RuntimeError(f"the bare loop has stored {stored} of {backlog.readings} readings")
    return _result(harness, line, run, after.per_record(before, line.records) | line.cpu)


def _run_isolated_stages(harness: Harness, backlog: Backlog, run: int) -> Iterator[Result]:
    with harness.empty_database() as database:
        for line in _run_program(harness, backlog, database, ISOLATED_STAGES):
            yield _result(harness, line, run, line.cpu)


def _run_program(harness: Harness, backlog: Backlog, database: Database, module: str) -> list[Line]:
    """Run a module of tests.bench.programs to its end and decode the lines it prints."""
    asyncio.run(database.execute(CREATE_OFFSETS_TABLE))
    finished = subprocess.run(
        [sys.executable, "-m", module],
        env=service_environment(harness.stack, database, backlog.topics),
        cwd=ROOT,
        capture_output=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
    )
    if finished.returncode:
        raise RuntimeError(f"{module} failed:\n{finished.stderr.decode()}")
    return [msgspec.json.decode(line, type=Line) for line in finished.stdout.splitlines()]


def _result(harness: Harness, line: Line, run: int, details: dict[str, float]) -> Result:
    rate = line.records / line.seconds
    harness.log_progress(f"{line.what}, run {run}: {rate:,.0f} records/s")
    return Result(measure=line.what, value=round(rate), unit="records/s", run=run, details=details)
