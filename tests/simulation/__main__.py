"""`make simulate`: seeds of the deterministic simulation (SEEDS, FROM, JOBS, TRACE). JSON on stdout, progress on stderr."""

import os
import sys
from typing import Final

ENVIRONMENT: Final = {"PYTHONHASHSEED": "0"}  # the order of a set is part of a run


def main() -> int:
    """Run the seeds that the environment asks for. The exit code is 1 when one failed."""
    from tests.simulation import patches, runner  # noqa: PLC0415 - only in the interpreter that runs them

    first, seeds = int(os.environ.get("FROM") or 1), int(os.environ.get("SEEDS") or 2000)
    jobs = int(os.environ.get("JOBS") or os.cpu_count() or 1)
    if os.environ.get("TRACE"):
        patches.install(trace=True)
        figures = runner.run_portion(range(first, first + seeds))
    else:
        figures = runner.run_seeds(first, seeds, jobs)
        if figures.failed:
            patches.install()
            runner.report_failure(*min(figures.failed))
    print(figures.as_json())  # noqa: T201
    for seed, violation in figures.failed if os.environ.get("TRACE") else ():
        print(f"seed {seed}: {violation}", file=sys.stderr)  # noqa: T201
    return 1 if figures.failed else 0


if __name__ == "__main__":
    if any(os.environ.get(name) != value for name, value in ENVIRONMENT.items()):
        os.execve(sys.executable, [sys.executable, "-m", "tests.simulation"], os.environ | ENVIRONMENT)
    sys.exit(main())
