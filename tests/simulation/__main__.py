"""`make simulate`: seeds of the deterministic simulation. JSON on stdout, progress on stderr; exit code 1 when a seed failed.

SEEDS, FROM, JOBS: which seeds, on how many processors. TRACE=1: show what the consumers log. DEFECTS=1: plant each defect of
`defects.py` in turn and look for the first seed that finds it. DEFECT=name: run with this one.
"""

import json
import os
import subprocess
import sys
from typing import Final

ENVIRONMENT: Final = {"PYTHONHASHSEED": "0"}  # the order of a set is part of a run
DEFECT_SEEDS: Final = 10_000


def main() -> int:
    """Run the seeds that the environment asks for."""
    from tests.simulation import patches, runner  # noqa: PLC0415 - after a defect was planted

    first, seeds = int(os.environ.get("FROM") or 1), int(os.environ.get("SEEDS") or 2000)
    jobs = int(os.environ.get("JOBS") or os.cpu_count() or 1)
    if os.environ.get("TRACE"):
        patches.install(trace=True)
        figures = runner.run_portion(range(first, first + seeds))
        for seed, violation in figures.failed:
            print(f"seed {seed}: {violation}", file=sys.stderr)  # noqa: T201
    else:
        figures = runner.run_seeds(first, seeds, jobs)
        if figures.failed and not os.environ.get("DEFECT"):
            patches.install()
            runner.report_failure(*min(figures.failed))
    print(figures.as_json())  # noqa: T201
    return 1 if figures.failed else 0


def find_defects() -> int:
    """Plant each defect in an interpreter of its own. The exit code is 1 when one was not found."""
    from tests.simulation.defects import DEFECTS  # noqa: PLC0415 - imports nothing of the consumer

    seeds = os.environ.get("SEEDS") or str(DEFECT_SEEDS)
    missed = 0
    for defect in DEFECTS:
        environment = os.environ | {"DEFECT": defect.name, "DEFECTS": "", "SEEDS": seeds}
        run = subprocess.run(
            [sys.executable, "-m", "tests.simulation"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        figures = json.loads(run.stdout)
        missed += not figures["failed"]
        found = {"defect": defect.name, "found": bool(figures["failed"]), "seeds": figures["seeds"]}
        print(json.dumps(found), flush=True)  # noqa: T201
    return 1 if missed else 0


if __name__ == "__main__":
    if any(os.environ.get(name) != value for name, value in ENVIRONMENT.items()):
        os.execve(sys.executable, [sys.executable, "-m", "tests.simulation"], os.environ | ENVIRONMENT)
    if os.environ.get("DEFECTS"):
        sys.exit(find_defects())
    if os.environ.get("DEFECT"):
        from tests.simulation.defects import plant

        plant(os.environ["DEFECT"])
    sys.exit(main())
