"""How long partitions stand still while a group goes from two members to eight and back, by the protocol of the group.

A trial in which both sides only read: with aiokafka and the classic protocol, as our consumers do, and with librdkafka and the
new one (KIP-848).
"""

import asyncio
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Final

import psutil
from aiokafka import AIOKafkaProducer

from deploy.stack.processes import Processes
from deploy.stack.topics import create_topics
from tests.bench.instruments.results import Result, with_medians
from tests.bench.others.quix_environment import quix_python
from tests.bench.setup.harness import Harness
from tests.support.waiting import until

MEMBER: Final = Path(__file__).parents[1] / "programs" / "group_member.py"
PARTITIONS: Final = 16
FEW, MANY = 2, 8
RECORDS_PER_SECOND: Final = 50  # of each partition: a gap is measured to 20 ms
STEADY_SECONDS: Final = 5.0  # before and after each change
RECEIVED: Final = re.compile(r"^received (\d+\.\d+) (\d+) \d+$", re.MULTILINE)
Arrivals = dict[int, list[float]]


@dataclass(slots=True)
class Trial:
    """One group that is read by members of one kind."""

    harness: Harness
    processes: Processes
    command: list[str]
    topic: str
    directory: Path
    members: list[psutil.Popen] = field(default_factory=list)

    def resize(self, size: int) -> None:
        """Start or stop members at once, as a deployment is scaled."""
        while len(self.members) < size:
            environment = {
                "KAFKA_BOOTSTRAP_SERVERS": self.harness.stack.kafka_bootstrap_servers,
                "TOPIC": self.topic,
                "KAFKA_GROUP_ID": f"group-{self.topic}",
            }
            log = self.directory / f"member-{time.monotonic_ns()}.log"
            self.members.append(self.processes.start(self.command, log=log, env=environment))
        leaving, self.members = self.members[size:], self.members[:size]
        for member in leaving:
            member.terminate()
        for member in leaving:
            member.wait(60)

    def arrivals(self) -> Arrivals:
        """When records of each partition were received, by any member."""
        found: Arrivals = {partition: [] for partition in range(PARTITIONS)}
        for log in self.directory.glob("member-*.log"):
            for moment, partition in RECEIVED.findall(log.read_text()):
                found[int(partition)].append(float(moment))
        return {partition: sorted(moments) for partition, moments in found.items()}

    async def until_read(self) -> None:
        """Waits until every partition has been read within the last second."""

        async def read() -> bool:
            moments = self.arrivals().values()
            return all(each and time.time() - each[-1] < 1 for each in moments)

        await until(read, "every partition is read", timeout=120, every=0.5)


def measure(harness: Harness) -> Iterator[Result]:
    """The longest pause of a partition in seconds; the ratio is that of the new protocol to the classic one."""
    commands = {
        "classic": [sys.executable, str(MEMBER), "classic"],
        "consumer": [str(quix_python(harness.log_progress)), str(MEMBER), "consumer"],
    }
    yield from with_medians(
        result for run in range(1, harness.runs + 1) for result in _measure_each(harness, commands, run)
    )


def _measure_each(harness: Harness, commands: dict[str, list[str]], run: int) -> Iterator[Result]:
    pauses: dict[tuple[str, str], list[float]] = {}
    for protocol, command in commands.items():
        for change, found in asyncio.run(_pauses(harness, command, f"group-{protocol}-{time.time_ns()}")).items():
            pauses[change, protocol] = found
            harness.log_progress(f"{protocol}, {change}, run {run}: longest pause {max(found):.2f} s")
    for (change, protocol), found in pauses.items():
        yield Result(
            measure=f"pause_{change}_{protocol}",
            value=round(max(found), 3),
            unit="s",
            ratio=round(max(found) / max(pauses[change, "classic"]), 4),
            run=run,
            details={"median_of_partitions": round(median(found), 3), "shortest": round(min(found), 3)},
        )


async def _pauses(harness: Harness, command: list[str], topic: str) -> dict[str, list[float]]:
    """The longest gap between two arrivals of each partition, for each change of the group."""
    await create_topics(harness.stack.kafka_bootstrap_servers, (topic,), partitions=PARTITIONS)
    with Processes() as processes:
        trial = Trial(harness, processes, command, topic, harness.new_directory("group"))
        producing = asyncio.create_task(_produce(harness, topic))
        try:
            trial.resize(FEW)
            await trial.until_read()
            windows = {f"{FEW}_to_{MANY}": MANY, f"{MANY}_to_{FEW}": FEW}
            changes = {name: await _change(trial, size) for name, size in windows.items()}
        finally:
            producing.cancel()
            await asyncio.wait({producing})
        arrivals = trial.arrivals()
    return {
        name: [_longest_gap(moments, begin, end) for moments in arrivals.values()]
        for name, (begin, end) in changes.items()
    }


async def _change(trial: Trial, size: int) -> tuple[float, float]:
    """Resize the group in the middle of steady reading; the beginning and the end of that time."""
    await asyncio.sleep(STEADY_SECONDS)
    begin = time.time()
    await asyncio.to_thread(trial.resize, size)
    await asyncio.sleep(2 * STEADY_SECONDS)
    await trial.until_read()
    return begin, time.time()


def _longest_gap(moments: list[float], begin: float, end: float) -> float:
    inside = [begin, *(each for each in moments if begin <= each <= end), end]
    return max(after - before for before, after in pairwise(inside))


async def _produce(harness: Harness, topic: str) -> None:
    """The same rate to every partition until cancelled."""
    async with AIOKafkaProducer(
        bootstrap_servers=harness.stack.kafka_bootstrap_servers, acks=1, linger_ms=1
    ) as producer:
        while True:
            for partition in range(PARTITIONS):
                await producer.send(topic, b"x", partition=partition)
            await asyncio.sleep(1 / RECORDS_PER_SECOND)
