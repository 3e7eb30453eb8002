"""The command of `make audit`: known vulnerabilities of the locked packages. Exit code 1 if one is found or pip-audit fails."""

import re
import subprocess
import sys
from dataclasses import dataclass
from typing import Final

LOCKS: Final = ("requirements.lock", "requirements-dev.lock")
# pip-audit's messages when the vulnerability service is unreachable. Every other failure is an error.
UNREACHABLE: Final = re.compile(
    r"ConnectionError|ConnectTimeout|ReadTimeout|ProxyError|NewConnectionError|NameResolutionError|Max retries exceeded"
    r"|Connection refused|Name or service not known|Temporary failure in name resolution"
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """An exit code and its message."""

    code: int
    message: str


def interpret(code: int, stdout: str, stderr: str) -> Verdict:
    """Interprets the exit code and the output of pip-audit."""
    if code == 0:
        return Verdict(0, "no known vulnerability in the locked packages")
    if "Found " in stderr and "vulnerabilit" in stderr:
        return Verdict(
            1, f"packages with known vulnerabilities; raise them in pyproject.toml and run make lock:\n{stdout}"
        )
    if UNREACHABLE.search(stderr):
        return Verdict(0, "the vulnerability service is unreachable. Nothing was checked")
    return Verdict(1, f"pip-audit failed with exit code {code}:\n{stderr or stdout}")


def main() -> int:
    """Runs pip-audit on each lock file and returns the exit code."""
    worst = 0
    for lock in LOCKS:
        command = ["pip_audit", "--require-hashes", "--disable-pip", "--progress-spinner", "off", "--timeout", "10"]
        done = subprocess.run([sys.executable, "-m", *command, "-r", lock], capture_output=True, text=True, check=False)
        verdict = interpret(done.returncode, done.stdout, done.stderr)
        sys.stderr.write(f"{lock}: {verdict.message}\n")
        worst = max(worst, verdict.code)
    return worst


if __name__ == "__main__":
    sys.exit(main())
