"""A scenario: how often it attacks, how one attack goes, and what came of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec

from deploy.stack.kafka import Kafka
from deploy.stack.servers import Servers
from tests.faults.arena import Arena, arena
from tests.faults.cluster import three_brokers
from tests.faults.oracle import Verdict
from tests.support.database import Database

Attack = Callable[[Arena, int], Awaitable[None]]


async def nothing(_: Arena) -> None:
    """No preparation."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """`attack` is one round; `prepare` comes before the first. `promise` is the number of the contract's promise it attacks.

    A negative control takes a safeguard away and must end with duplicates.
    """

    name: str
    rounds: int
    attack: Attack
    promise: str
    prepare: Callable[[Arena], Awaitable[None]] = nothing
    negative_control: bool = False
    three_brokers: bool = False
    least_rounds: int = 1  # that make the whole attack


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a scenario."""

    scenario: str
    promise: str
    rounds: int
    acknowledged: int
    lost: int
    duplicated: int
    fenced: int
    longest_stall_seconds: float
    seconds: float
    negative_control: bool
    measured: dict[str, float]
    findings: list[str]

    @property
    def as_promised(self) -> bool:
        """Nothing found, or for a negative control: duplicates."""
        return self.duplicated > 0 if self.negative_control else not self.findings


def run(
    scenario: Scenario,
    rounds: int,
    stack: Servers,
    template: Database,
    directory: Path,
    say: Callable[[str], None],
    *,
    tries: int = 1,
) -> Report:
    """Run a scenario on these servers; called outside of an event loop. With more `tries` than one, a time that was too long is
    measured again: for a machine that others keep busy.
    """
    with ExitStack() as exits:
        brokers: Mapping[int, Kafka] = {}
        if scenario.three_brokers:
            stack, brokers = exits.enter_context(three_brokers(stack))
        ground = exits.enter_context(arena(stack, template, directory, say, brokers, tries))
        return asyncio.run(_run(scenario, rounds, ground))


async def _run(scenario: Scenario, rounds: int, ground: Arena) -> Report:
    began = time.monotonic()
    async with ground.fighting():
        try:
            await scenario.prepare(ground)
            for number in range(1, rounds + 1):
                await scenario.attack(ground, number)
                ground.say(f"{scenario.name}: round {number} of {rounds}, {len(ground.load.journal)} acknowledged")
            verdict = await ground.judge()
        except Exception as error:  # noqa: BLE001 - a scenario that cannot end is a finding, and the others still run
            verdict = Verdict(len(ground.load.journal), findings=[f"{type(error).__name__}: {error}"])
        return Report(
            scenario=scenario.name,
            promise=scenario.promise,
            rounds=rounds,
            acknowledged=verdict.acknowledged,
            lost=verdict.lost,
            duplicated=verdict.duplicated,
            fenced=ground.fenced(),
            longest_stall_seconds=round(ground.watch.longest, 1),
            seconds=round(time.monotonic() - began, 1),
            negative_control=scenario.negative_control,
            measured=ground.measured,
            findings=verdict.findings,
        )
