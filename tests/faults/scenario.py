"""A scenario, how it is run, and its report."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from deploy.stack.kafka import Kafka
from deploy.stack.servers import Servers
from tests.faults.kafka_cluster import three_brokers
from tests.faults.oracle.verdict import Verdict
from tests.faults.postgres_copy import copied_postgres
from tests.faults.testbed import Testbed, new_testbed
from tests.support.database import Database
from tests.support.repository import ROOT

Proof = Literal["lost", "duplicated"]
Attack = Callable[[Testbed, int], Awaitable[None]]


async def no_preparation(_: Testbed) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Scenario:
    """An attack that is repeated, on the promise of the README with the number `promise`.

    `prepare` runs once, before the first round; `attack` is called with the number of each round, from 1. `min_rounds` is the
    number of rounds that cover every variant of the attack. `make test` runs those with `in_tests`. A negative control disables a
    safeguard or damages data, and its value is what the oracle must find.
    """

    name: str
    rounds: int
    attack: Attack
    promise: str
    prepare: Callable[[Testbed], Awaitable[None]] = no_preparation
    negative_control: Proof | None = None
    three_brokers: bool = False
    copied_postgres: bool = False
    min_rounds: int = 1
    in_tests: bool = True


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a scenario, printed as a line of JSON."""

    scenario: str
    promise: str
    rounds: int
    acknowledged: int
    lost: int
    duplicated: int
    fenced: int
    longest_stall_seconds: float
    seconds: float
    negative_control: Proof | None
    measured: dict[str, float]
    findings: list[str]

    @property
    def as_promised(self) -> bool:
        """Whether there are no findings; for a negative control, whether the oracle has found what it must."""
        found = {"lost": self.lost, "duplicated": self.duplicated}
        return found[self.negative_control] > 0 if self.negative_control else not self.findings


def run(
    scenario: Scenario,
    rounds: int,
    stack: Servers,
    template: Database,
    directory: Path,
    log_progress: Callable[[str], None],
    *,
    attempts: int = 1,
    code: Path = ROOT,
) -> Report:
    """Run a scenario on these servers; must be called outside of an event loop.

    `attempts` is how often a duration may be measured until it is within its limit, for a machine that is busy with other work.
    `code` is the checkout that the system runs from.
    """
    with ExitStack() as exits:
        brokers: Mapping[int, Kafka] = {}
        if scenario.three_brokers:
            cluster = exits.enter_context(three_brokers(stack))
            stack, brokers = cluster.stack, cluster.brokers
        if scenario.copied_postgres:
            stack = exits.enter_context(copied_postgres(stack, members=rounds + 1))
        testbed = exits.enter_context(new_testbed(stack, template, directory, log_progress, brokers, attempts, code))
        return asyncio.run(_run(scenario, rounds, testbed))


async def _run(scenario: Scenario, rounds: int, testbed: Testbed) -> Report:
    started = time.monotonic()
    async with testbed.active():
        try:
            await scenario.prepare(testbed)
            for number in range(1, rounds + 1):
                await scenario.attack(testbed, number)
                testbed.log_progress(
                    f"{scenario.name}: round {number} of {rounds}, {len(testbed.load.journal)} acknowledged"
                )
            verdict = await testbed.verify()
        except Exception as error:  # noqa: BLE001 - a scenario that fails is a finding, and the other scenarios still run
            verdict = Verdict(len(testbed.load.journal), findings=[f"{type(error).__name__}: {error}"])
        return Report(
            scenario=scenario.name,
            promise=scenario.promise,
            rounds=rounds,
            acknowledged=verdict.acknowledged,
            lost=verdict.lost,
            duplicated=verdict.duplicated,
            fenced=testbed.fenced_writes(),
            longest_stall_seconds=round(testbed.stall_watch.longest_seconds, 1),
            seconds=round(time.monotonic() - started, 1),
            negative_control=scenario.negative_control,
            measured=testbed.measurements,
            findings=verdict.findings,
        )
