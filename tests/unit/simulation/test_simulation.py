"""`make simulate` in short: some hundred seeds without a violation, and the same seed gives the same run."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

SEEDS: Final = 800


def _simulate(**settings: object) -> dict[str, Any]:
    """The figures of a run; it is a process of its own, because it replaces the clocks of its interpreter."""
    environment = os.environ | {name: str(value) for name, value in settings.items()}
    run = subprocess.run(
        [sys.executable, "-m", "tests.simulation"],
        cwd=Path(__file__).parents[3],
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    figures: dict[str, Any] = json.loads(run.stdout)
    return figures


def test_no_seed_breaks_the_promise() -> None:
    figures = _simulate(SEEDS=SEEDS, FROM=1, JOBS=2)
    assert (figures["seeds"], figures["failed"]) == (SEEDS, [])
    assert figures["transactions"] > SEEDS


def test_a_seed_always_gives_the_same_run() -> None:
    assert _simulate(SEEDS=20, FROM=1, JOBS=1) == _simulate(SEEDS=20, FROM=1, JOBS=1)
