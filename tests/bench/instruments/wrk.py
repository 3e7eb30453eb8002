"""HTTP load from wrk, with a Lua script that builds the requests.

wrk is Debian's package of that name. A client in Python would be slower than the service it measures.
"""

import shutil
import subprocess
from pathlib import Path

import msgspec

from tests.bench.setup.harness import Harness


class Load(msgspec.Struct):
    """Totals and latencies of one run of wrk; `failed` counts errors of every kind."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    failed: int


def wrk_is_installed(harness: Harness) -> bool:
    """Whether wrk is on the PATH; when it is not, the progress log says that the measure is left out."""
    if shutil.which("wrk"):
        return True
    harness.log_progress("left out: wrk is not installed (apt-get install wrk)")
    return False


def run_wrk(script: Path, address: str, connections: int, seconds: int, *arguments: int) -> Load:
    """Run wrk until `seconds` have passed; `arguments` go to the script, whose last line of output is a JSON object."""
    command = [
        "wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s", "--timeout", "20s",
        "--script", str(script), address, "--", *map(str, arguments),
    ]  # fmt: skip
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return msgspec.json.decode(output.strip().splitlines()[-1], type=Load)
