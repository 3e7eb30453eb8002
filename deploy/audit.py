"""`make audit`: known weaknesses of the packages in the lock files. Exit 1 when one is found, or when it cannot be told."""

import re
import subprocess
import sys
from dataclasses import dataclass
from typing import Final

LOCKS: Final = ("requirements.lock", "requirements-dev.lock")
# What pip-audit says when nobody answers; anything else that goes wrong is its fault or ours.
UNREACHABLE: Final = re.compile(
    r"ConnectionError|ConnectTimeout|ReadTimeout|ProxyError|NewConnectionError|NameResolutionError|Max retries exceeded"
    r"|Connection refused|Name or service not known|Temporary failure in name resolution"
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to exit with, and what to say."""

    code: int
    says: str


def judge(code: int, printed: str, said: str) -> Verdict:
    """What an outcome of pip-audit means; `printed` is its stdout, `said` its stderr."""
    if code == 0:
        return Verdict(0, "no known weakness in what the lock files name")
    if "Found " in said and "vulnerabilit" in said:
        return Verdict(1, f"packages with known weaknesses; raise them in pyproject.toml and run make lock:\n{printed}")
    if UNREACHABLE.search(said):
        return Verdict(
            0, "could not ask: the service that knows of weaknesses does not answer from here. Nothing was checked"
        )
    return Verdict(1, f"pip-audit ended with {code} and has told nothing:\n{said or printed}")


def main() -> int:
    """Ask pip-audit about each lock file."""
    worst = 0
    for lock in LOCKS:
        command = ["pip_audit", "--require-hashes", "--disable-pip", "--progress-spinner", "off", "--timeout", "10"]
        asked = subprocess.run(
            [sys.executable, "-m", *command, "-r", lock], capture_output=True, text=True, check=False
        )
        verdict = judge(asked.returncode, asked.stdout, asked.stderr)
        sys.stderr.write(f"{lock}: {verdict.says}\n")
        worst = max(worst, verdict.code)
    return worst


if __name__ == "__main__":
    sys.exit(main())
