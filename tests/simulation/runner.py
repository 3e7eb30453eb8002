"""Many seeds on several processors: progress, the first failing seed shrunk and with its command, figures of the whole run."""

import gc
import json
import multiprocessing
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from tests.simulation import patches
from tests.simulation.plan import Plan, draw
from tests.simulation.shrink import describe, shrink
from tests.simulation.world import Outcome, World

SEEDS_PER_PORTION: Final = 25
PORTIONS_PER_WORKER: Final = 16  # a worker never collects garbage: it would take longer than to start the next one
PROGRESS_SECONDS: Final = 5.0
_clock: Final = time.perf_counter  # not one of the clocks that a run replaces


@dataclass(slots=True)
class Figures:
    """What many runs came to."""

    seeds: int = 0
    virtual_seconds: float = 0.0
    transactions: int = 0
    steps: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    failed: list[tuple[int, str]] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        self.seeds += 1
        self.virtual_seconds += outcome.virtual_seconds
        self.transactions += outcome.transactions
        self.steps += outcome.steps
        self.counts.update(outcome.counts)
        if outcome.violation:
            self.failed.append((outcome.seed, outcome.violation))

    def merge(self, other: "Figures") -> None:
        self.seeds += other.seeds
        self.virtual_seconds += other.virtual_seconds
        self.transactions += other.transactions
        self.steps += other.steps
        self.counts.update(other.counts)
        self.failed += other.failed

    def as_json(self) -> str:
        """One JSON object; `counts` has each kind of fault and each event that the consumers logged."""
        return json.dumps(
            {
                "seeds": self.seeds,
                "failed": sorted(seed for seed, _ in self.failed),
                "virtual_hours": round(self.virtual_seconds / 3600, 1),
                "transactions": self.transactions,
                "callbacks": self.steps,
                "counts": dict(sorted(self.counts.items())),
            },
            indent=1,
        )


def run_plan(plan: Plan) -> Outcome:
    """Run one plan in this interpreter."""
    return World(plan).run()


def run_portion(seeds: range) -> Figures:
    """Run some seeds in this interpreter, up to the first that fails."""
    figures = Figures()
    for seed in seeds:
        figures.add(run_plan(draw(seed)))
        if figures.failed:
            break
    return figures


def run_seeds(first: int, seeds: int, jobs: int) -> Figures:
    """Run seeds and show progress on stderr; stops at a failure, or at Ctrl-C with the figures so far."""
    total = Figures()
    began = shown = _clock()
    try:
        for figures in _portions(first, seeds, jobs):
            total.merge(figures)
            if total.failed:
                break
            if _clock() - shown >= PROGRESS_SECONDS:
                shown = _clock()
                _show(total, seeds, shown - began)
    except KeyboardInterrupt:
        _say("interrupted; the figures are those of the seeds that were run")
    _show(total, seeds, _clock() - began)
    return total


def report_failure(seed: int, violation: str) -> None:
    """Print a failing seed, what it came down to, and the command that runs it again."""
    _say(f"\nseed {seed} failed: {violation}")
    plan, reason = shrink(draw(seed), run_plan)
    _say(f"\nshrunk to:\n{describe(plan)}\n{reason}")
    _say(f"\nrun it again with:  make simulate FROM={seed} SEEDS=1 TRACE=1")


def _portions(first: int, seeds: int, jobs: int) -> Iterator[Figures]:
    portions = [
        range(at, min(at + SEEDS_PER_PORTION, first + seeds)) for at in range(first, first + seeds, SEEDS_PER_PORTION)
    ]
    patches.install()
    gc.collect()
    gc.freeze()
    context = multiprocessing.get_context("fork")
    with context.Pool(jobs, initializer=_prepare_worker, maxtasksperchild=PORTIONS_PER_WORKER) as pool:
        yield from pool.imap_unordered(run_portion, portions)


def _prepare_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the workers
    gc.disable()


def _show(total: Figures, seeds: int, seconds: float) -> None:
    rate = total.seeds / max(seconds, 0.001)
    _say(
        f"{total.seeds:,} of {seeds:,} seeds, {rate:.0f} a second, "
        f"{total.virtual_seconds / 3600:,.1f} virtual hours, {len(total.failed)} failed"
    )


def _say(text: Any) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201
