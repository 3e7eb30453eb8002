"""schemathesis against a running service: requests that its OpenAPI document allows, and requests that it does not."""

import os
import subprocess
import sys
from typing import Final

from tests.support.repository import ROOT

ENDLESS: Final = "/v1/stream"  # the response never ends; tests/integration/api/test_events.py covers it


def run_schemathesis(
    address: str, key: str, *, examples: int, seconds: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs all checks with an API key that has every scope.

    The requests are the same in every run, unless `seconds` is given: then they are random for this long.
    """
    mode = ["--max-time", str(seconds)] if seconds else ["--generation-deterministic"]
    return subprocess.run(
        [
            sys.executable, "-m", "schemathesis.cli", "run", f"{address}/openapi.json", "--exclude-path", ENDLESS,
            "--checks", "all", "--max-examples", str(examples), "--continue-on-failure", "--warnings", "off",
            "--no-color", "--request-timeout", "60", "--header", f"Authorization: Bearer {key}", *mode,
        ],
        env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.contracts.openapi_hooks", "PYTHONPATH": str(ROOT)},
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
