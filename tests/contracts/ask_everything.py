"""schemathesis against a running service: everything that its document allows, and what it does not."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
ENDLESS: Final = "/v1/stream"  # its answer never ends; tests/integration/api/test_events.py reads it


def ask_everything(
    address: str, key: str, *, examples: int, seconds: int | None = None
) -> subprocess.CompletedProcess[str]:
    """With all checks on, and with an API key that may do everything. The same questions every time, unless it is given `seconds`
    to go on for.
    """
    how = ["--max-time", str(seconds)] if seconds else ["--generation-deterministic"]
    return subprocess.run(
        [
            sys.executable, "-m", "schemathesis.cli", "run", f"{address}/openapi.json", "--exclude-path", ENDLESS,
            "--checks", "all", "--max-examples", str(examples), "--continue-on-failure", "--warnings", "off",
            "--no-color", "--request-timeout", "60", "--header", f"Authorization: Bearer {key}", *how,
        ],
        env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.contracts.openapi_hooks", "PYTHONPATH": str(ROOT)},
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
