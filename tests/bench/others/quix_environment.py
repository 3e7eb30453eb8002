"""requirements.lock -> `.venv-bench`, made when it is first needed and anew when the lock file has changed."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

LOCK: Final = Path(__file__).parents[1] / "requirements.lock"
ENVIRONMENT: Final = Path(__file__).parents[3] / ".venv-bench"


def quix_python(say: Callable[[str], None]) -> Path:
    """The interpreter that has Quix Streams; nothing of it enters the project's own environment.

    Raises:
        subprocess.CalledProcessError: the packages cannot be installed.
    """
    python, made_of = ENVIRONMENT / "bin" / "python", ENVIRONMENT / ".made-of"
    wanted = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if not made_of.exists() or made_of.read_text() != wanted:
        say("installing Quix Streams into .venv-bench")
        subprocess.run([sys.executable, "-m", "venv", "--clear", ENVIRONMENT], check=True)
        (ENVIRONMENT / ".gitignore").write_text("*\n")
        install = [
            "-m",
            "pip",
            "install",
            "-q",
            "--disable-pip-version-check",
            "--no-deps",
            "--require-hashes",
            "-r",
            str(LOCK),
        ]
        subprocess.run([str(python), *install], check=True)
        made_of.write_text(wanted)
    return python
