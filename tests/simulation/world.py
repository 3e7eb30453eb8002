"""One run: build the world of a plan, let its events happen, and judge.

events (produced records, faults) -> calm (all faults are ended) -> all stored -> one more record each -> judged
-> the group at rest
"""

import gc
import traceback
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.simulation import patches
from tests.simulation.cluster import Cluster
from tests.simulation.event_loop import StuckError
from tests.simulation.faults import Faults
from tests.simulation.invariants import Violation
from tests.simulation.operators import Operator
from tests.simulation.plan import FIRST_INSTANT, Plan, Produce, Reading

CALM_SECONDS: Final = 1.0  # between the last event and the end of all faults that still last
RECOVERY_SECONDS: Final = 90.0  # in which everything must be stored once the faults have ended
PROBE_SECONDS: Final = 60.0  # in which one more record of each partition must be stored
READY_SECONDS: Final = 60.0  # in which every consumer that runs must be ready
REST_SECONDS: Final = (
    3.0  # in which no member joins: more than one needs to hear of a rebalance, with the longest session
)
MOST_REBALANCES: Final = 12  # once the faults have ended, until the group is at rest
CHECK_SECONDS: Final = 0.5


@dataclass(slots=True)
class Outcome:
    """The result of one run; `violation` is None when everything held."""

    seed: int
    violation: str | None
    virtual_seconds: float
    steps: int
    transactions: int
    counts: Counter[str] = field(default_factory=Counter)


class World:
    """One run of one plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._cluster = Cluster(plan)
        self._faults = Faults(self._cluster)
        self._operator = Operator(self._cluster)

    def run(self) -> Outcome:
        """Run to the end, or to the first violation."""
        cluster = self._cluster
        patches.enter(cluster.scheduler, cluster.rng, self._plan.check_seconds, self._on_log)
        try:
            self._run()
        except Violation as violation:
            cluster.violate(str(violation))
        except StuckError as stuck:
            cluster.violate(f"stuck: {stuck}")
        except Exception:  # noqa: BLE001 - an error of the model, or one that no task of the consumer has caught
            cluster.violate(f"error in the simulation:\n{traceback.format_exc()}")
        finally:
            if gc.isenabled():
                for process in cluster.processes:
                    process.dispose()
            patches.leave()
        return Outcome(
            seed=self._plan.seed,
            violation=cluster.violation,
            virtual_seconds=cluster.scheduler.now,
            steps=cluster.scheduler.steps,
            transactions=cluster.server.commits,
            counts=cluster.totals(),
        )

    def _run(self) -> None:
        plan, cluster = self._plan, self._cluster
        for _ in range(plan.processes):
            cluster.add_process()
        self._operator.start()
        for produced in plan.produced:
            cluster.scheduler.call_later(produced.at, cluster.produce, produced)
        for fault in plan.faults:
            cluster.scheduler.call_later(fault.at, self._faults.begin, fault)
        instants = [*(each.at for each in plan.produced), *(each.at for each in plan.faults)]
        cluster.scheduler.run(max(instants, default=0.0) + CALM_SECONDS)
        self._faults.end_all()
        generation = cluster.broker.group.generation
        cluster.server.on_change = cluster.scheduler.stop
        if not self._wait_until_stored(RECOVERY_SECONDS):
            raise Violation(f"not stored within {RECOVERY_SECONDS:.0f} s after the faults: {self._state()}")
        self._probe()
        if not self._wait_until_stored(PROBE_SECONDS):
            raise Violation(f"one more record of each partition was not stored: {self._state()}")
        cluster.invariants.check_end(cluster.server.tables)
        if not self._wait_until_ready(READY_SECONDS):
            raise Violation(f"everything is stored, and yet not all are ready: {self._state()}")
        self._wait_until_at_rest(generation)

    def _wait_until_stored(self, seconds: float) -> bool:
        cluster = self._cluster
        until = cluster.scheduler.now + seconds
        while not cluster.violated():
            if not any(cluster.invariants.unread(cluster.server.tables)):
                return True
            if not cluster.scheduler.run(until):
                return False
        return True

    def _wait_until_ready(self, seconds: float) -> bool:
        cluster = self._cluster
        until = cluster.scheduler.now + seconds
        while not cluster.violated() and any(each.health and each.health.ready() for each in cluster.processes):
            if cluster.scheduler.now >= until:
                return False
            cluster.scheduler.run(cluster.scheduler.now + CHECK_SECONDS)
        return True

    def _wait_until_at_rest(self, generation: int) -> None:
        """Until no member joins again; `generation` is that of the group at the end of the faults."""
        cluster, scheduler, group = self._cluster, self._cluster.scheduler, self._cluster.broker.group
        until = scheduler.now + RECOVERY_SECONDS
        while not cluster.violated() and (group.phase != "stable" or scheduler.now < group.last_join + REST_SECONDS):
            rebalances = group.generation - generation
            if rebalances > MOST_REBALANCES or scheduler.now >= until:
                raise Violation(f"the group does not come to rest: {rebalances} rebalances since the faults ended")
            scheduler.run(scheduler.now + CHECK_SECONDS)

    def _probe(self) -> None:
        """One more record for each partition: one that nobody reads any more does not show otherwise."""
        for topic, partition in sorted(self._cluster.broker.logs):
            reading = Reading(f"{topic}-probe-{partition}", FIRST_INSTANT, 1.0)
            self._cluster.produce(Produce(0.0, topic, partition, reading))

    def _state(self) -> str:
        health = {each.name: each.health.ready() for each in self._cluster.processes if each.health}
        return f"unread {sorted(self._cluster.invariants.unread(self._cluster.server.tables))}, readiness {health}"

    def _on_log(self, event: str, facts: Mapping[str, Any]) -> None:
        self._cluster.counts[f"log: {event}"] += 1
        if event == "write_retried" and facts.get("cause") == "unknown" and "CommitOutcome" not in facts["error"]:
            self._cluster.violate(f"an error of our own code is retried: {facts.get('error')}")
