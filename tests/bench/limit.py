"""What the machine could do, in the same run: each part alone, the bare loop, and our consumer beside them."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from typing import Final

import msgspec

from tests.bench.backlog import Backlog, fill
from tests.bench.costs import Costs
from tests.bench.drain import MINUTES, drained
from tests.bench.ground import Ground, Result, with_medians
from tests.support.database import Database
from tests.support.repository import ROOT
from tests.support.services import service_environment

LONGEST_SECONDS: Final = 600
MAKE_OFFSETS: Final = """
CREATE TABLE bench_offsets (topic text, partition integer, next_offset bigint NOT NULL, PRIMARY KEY (topic, partition));
GRANT SELECT, INSERT, UPDATE ON bench_offsets TO energy_writer"""
STORED: Final = (
    "SELECT (SELECT count(*) FROM meter_telemetry_history) + (SELECT count(*) FROM vehicle_telemetry_history)"
)


class Line(msgspec.Struct):
    """What a program of the benchmark says about itself."""

    what: str
    records: int
    seconds: float
    client_cpu_seconds: float


def measure(ground: Ground) -> Iterator[Result]:
    """Reading, decoding and storing alone, the bare loop, drain; drain's ratio to the slowest part and to the bare loop."""
    backlog = fill(ground, ground.scaled(MINUTES, least=2))
    yield from with_medians(_runs(ground, backlog))


def _runs(ground: Ground, backlog: Backlog) -> Iterator[Result]:
    for run in range(1, ground.runs + 1):
        parts = list(_parts(ground, backlog, run))
        yield from parts
        bare, ours = bare_and_ours(ground, backlog, run)
        yield bare
        yield ours
        slowest = min(part.value for part in parts)
        yield compared("drain_to_slowest_part", ours, slowest, run)
        yield compared("drain_to_bare_loop", ours, bare.value, run)


def bare_and_ours(ground: Ground, backlog: Backlog, run: int) -> tuple[Result, Result]:
    """One run of each, the other first in every second run."""
    if run % 2:
        bare = bare_loop(ground, backlog, run)
        return bare, drained(ground, backlog, run)
    ours = drained(ground, backlog, run)
    return bare_loop(ground, backlog, run), ours


def compared(measure: str, ours: Result, other: float, run: int) -> Result:
    """Our rate, as a share of another one of the same run."""
    return Result(
        measure=measure, value=round(ours.value / other, 4), unit="ratio", ratio=round(ours.value / other, 4), run=run
    )


def bare_loop(ground: Ground, backlog: Backlog, run: int) -> Result:
    """One run of the bare loop into an empty database; what it has stored is counted."""
    with ground.database() as database:
        before = Costs.now(ground.stack, ())
        (line,) = _program(ground, backlog, database, "tests.bench.bare")
        after = Costs.now(ground.stack, ())
        stored = asyncio.run(database.value(STORED))
    if stored != backlog.readings:
        raise RuntimeError(f"the bare loop has stored {stored} of {backlog.readings} readings")
    servers = after.per_record(before, line.records)
    return _result(ground, line, run, servers | {"client_cpu_us_per_record": _client(line)})


def _parts(ground: Ground, backlog: Backlog, run: int) -> Iterator[Result]:
    with ground.database() as database:
        for line in _program(ground, backlog, database, "tests.bench.alone"):
            yield _result(ground, line, run, {"client_cpu_us_per_record": _client(line)})


def _program(ground: Ground, backlog: Backlog, database: Database, module: str) -> list[Line]:
    """Run a program of the benchmark to its end; the lines it prints."""
    asyncio.run(database.execute(MAKE_OFFSETS))
    done = subprocess.run(
        [sys.executable, "-m", module],
        env=service_environment(ground.stack, database, backlog.topics),
        cwd=ROOT,
        capture_output=True,
        check=False,
        timeout=LONGEST_SECONDS,
    )
    if done.returncode:
        raise RuntimeError(f"{module} failed:\n{done.stderr.decode()}")
    return [msgspec.json.decode(line, type=Line) for line in done.stdout.splitlines()]


def _result(ground: Ground, line: Line, run: int, details: dict[str, float]) -> Result:
    rate = line.records / line.seconds
    ground.say(f"{line.what}, run {run}: {rate:,.0f} records/s")
    return Result(measure=line.what, value=round(rate), unit="records/s", run=run, details=details)


def _client(line: Line) -> float:
    return round(line.client_cpu_seconds * 1e6 / line.records, 3)
