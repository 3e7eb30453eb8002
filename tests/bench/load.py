"""How many answers a second the read service gives while the fleet's readings come in, and how long the slowest take.

wrk makes the load (Debian's package of that name): a client in Python would be slower than the service. Without it the measure is
left out.
"""

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import msgspec

from deploy.stack.processes import Processes
from tests.bench.costs import Costs
from tests.bench.ground import Ground, Result, with_medians
from tests.bench.steady import fleet_topics, start_fleet
from tests.bench.stored import stored_day, this_minute
from tests.support.services import ConsumerGroup, read_service, service_environment

VEHICLES: Final = 10_000
SECONDS: Final = 20
BUSY: Final = 16  # connections that ask as fast as they are answered: what the service can give
AT_LEISURE: Final = 1  # and one: what a question takes
SCRIPT: Final = Path(__file__).with_name("load.lua")
ROUTES: Final = {"api_performance_1": 1, "api_performance_100": 100}


class Load(msgspec.Struct):
    """What wrk has seen."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    failed: int


def measure(ground: Ground) -> Iterator[Result]:
    """The 24-hour route with a day of the fleet in place, for one vehicle and for a hundred: p99 of a question, and requests
    a second of a service that is kept busy.
    """
    if not shutil.which("wrk"):
        ground.say("left out: wrk is not installed (apt-get install wrk)")
        return
    vehicles = ground.scaled(VEHICLES, least=1000)
    with stored_day(ground, vehicles, this_minute()) as database, Processes() as processes:
        directory = ground.new_directory("api")
        environment = service_environment(ground.stack, database, fleet_topics(ground))
        group = ConsumerGroup(processes, environment, directory)
        replica = group.start()
        start_fleet(processes, environment, group)
        asyncio.run(replica.until_logged("partitions_assigned"))
        with read_service(processes, environment, directory) as client:
            yield from with_medians(
                result
                for run in range(1, ground.runs + 1)
                for name, asked in ROUTES.items()
                for result in _both(ground, client, name, asked, vehicles, run)
            )


def _both(ground: Ground, client: httpx.Client, name: str, asked: int, vehicles: int, run: int) -> Iterator[Result]:
    leisure, details = _asked(ground, client, asked, vehicles, AT_LEISURE)
    ground.say(f"{name}, run {run}: one at a time p50 {leisure.p50_ms:.1f} ms, p99 {leisure.p99_ms:.1f} ms")
    yield Result(measure=f"{name}_p99", value=round(leisure.p99_ms, 2), unit="ms", run=run, details=details)
    busy, details = _asked(ground, client, asked, vehicles, BUSY)
    rate = busy.requests / busy.seconds
    ground.say(f"{name}, run {run}: {rate:,.0f} requests/s, p50 {busy.p50_ms:.1f} ms, p99 {busy.p99_ms:.1f} ms")
    yield Result(measure=name, value=round(rate, 1), unit="requests/s", run=run, details=details)


def _asked(
    ground: Ground, client: httpx.Client, asked: int, vehicles: int, connections: int
) -> tuple[Load, dict[str, float]]:
    before = Costs.now(ground.stack, ())
    load = _load(str(client.base_url), asked, vehicles, ground.scaled(SECONDS, least=3), connections)
    after = Costs.now(ground.stack, ())
    if load.failed or not load.requests:
        raise RuntimeError(f"{load.failed} of {load.requests} requests failed")
    return load, {
        "connections": connections,
        "requests": load.requests,
        "p50_ms": round(load.p50_ms, 2),
        "p99_ms": round(load.p99_ms, 2),
        "postgres_cpu_cores": after.cores(before, load.seconds).get("postgres_cpu_cores", 0.0),
    }


def _load(address: str, asked: int, vehicles: int, seconds: int, connections: int) -> Load:
    command = [
        "wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s", "--timeout", "20s",
        "--script", str(SCRIPT), address, "--", str(asked), str(vehicles),
    ]  # fmt: skip
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return msgspec.json.decode(printed.strip().splitlines()[-1], type=Load)
