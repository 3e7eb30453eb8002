"""`make fuzz MINUTES=10`: fuzzes the decoders, then the HTTP service on real servers, for this long each; exit 1 on a finding."""

import os
import subprocess
import sys
from importlib.util import find_spec
from typing import Final

from tests.support.repository import ROOT

HTTP_TESTS: Final = "tests/integration/api/test_contracts_live.py"


def main() -> int:
    """Returns 1 when either part has a finding; progress goes to stderr."""
    seconds = int(float(sys.argv[1]) * 60)
    worst = 0
    if find_spec("atheris"):
        worst |= subprocess.run(
            [sys.executable, "-m", "tests.fuzz.decoder", str(seconds)], cwd=ROOT, check=False
        ).returncode
    else:
        sys.stderr.write("the decoders are skipped: atheris has no package for this Python or machine\n")
    environment = {**os.environ, "FUZZ_SECONDS": str(seconds)}
    command = [sys.executable, "-m", "pytest", "-q", "-o", f"timeout={2 * seconds + 600}", HTTP_TESTS]
    worst |= subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    return min(worst, 1)


if __name__ == "__main__":
    sys.exit(main())
