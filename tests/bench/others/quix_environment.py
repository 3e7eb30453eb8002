"""The virtual environment `.venv-bench` for Quix Streams, created from requirements.lock and recreated when that file changes."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

LOCK: Final = Path(__file__).parents[1] / "requirements.lock"
ENVIRONMENT: Final = Path(__file__).parents[3] / ".venv-bench"


def quix_python(log_progress: Callable[[str], None]) -> Path:
    """The Python interpreter with Quix Streams, which is kept out of the project's own environment.

    Raises:
        subprocess.CalledProcessError: the packages cannot be installed.
    """
    python, stamp = ENVIRONMENT / "bin" / "python", ENVIRONMENT / ".made-of"
    checksum = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != checksum:
        log_progress("installing Quix Streams into .venv-bench")
        subprocess.run([sys.executable, "-m", "venv", "--clear", ENVIRONMENT], check=True)
        (ENVIRONMENT / ".gitignore").write_text("*\n")
        options = ["-q", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
        subprocess.run([str(python), "-m", "pip", "install", *options, "-r", str(LOCK)], check=True)
        stamp.write_text(checksum)
    return python
