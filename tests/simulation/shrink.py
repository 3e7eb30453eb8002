"""The smallest plan that still fails: faults, produced records and settings are taken away as long as it does."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from tests.simulation.plan import Plan
from tests.simulation.world import Outcome

ATTEMPTS: Final = 300


def shrink(plan: Plan, run: Callable[[Plan], Outcome]) -> tuple[Plan, str]:
    """The smallest failing plan that was found, and how it fails."""
    violation = run(plan).violation or "did not fail again"
    attempts = 0
    shrinking = True
    while shrinking and attempts < ATTEMPTS:
        shrinking = False
        for smaller in _smaller(plan):
            attempts += 1
            outcome = run(smaller)
            if outcome.violation:
                plan, violation, shrinking = smaller, outcome.violation, True
                break
            if attempts >= ATTEMPTS:
                break
    return plan, violation


def describe(plan: Plan) -> str:
    """A plan in lines for people."""
    names = " with names" if plan.static_members else ""
    settings = (
        f"  {plan.processes} consumers{names}, partitions {plan.partitions}, session time-out {plan.session_seconds:.0f} s, "
        f"checks every {plan.check_seconds} s, batches of {plan.batch_records} or {plan.batch_wait_ms} ms, haste {plan.haste}"
    )
    events = [(each.at, repr(each)) for each in plan.produced] + [(each.at, repr(each)) for each in plan.faults]
    return "\n".join([settings, *(f"  {at:7.3f} s  {event}" for at, event in sorted(events))])


def _smaller(plan: Plan) -> Iterator[Plan]:
    for index in range(len(plan.faults)):
        yield plan.with_faults(plan.faults[:index] + plan.faults[index + 1 :])
    size = len(plan.produced) // 2
    while size:
        for start in range(0, len(plan.produced), size):
            yield plan.with_produced(plan.produced[:start] + plan.produced[start + size :])
        size //= 2
    if plan.haste:
        yield replace(plan, haste=0.0)
    if plan.static_members:
        yield replace(plan, static_members=False)
    if plan.processes > 1 and all(each.process < plan.processes - 1 for each in plan.faults):
        yield replace(plan, processes=plan.processes - 1)
