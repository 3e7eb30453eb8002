"""The command `python -m deploy.compose`, which creates the random secrets that docker-compose.yml mounts.

It needs Python alone, so that it runs on a host that has a container engine and nothing else.
"""

import argparse
import secrets
import sys
from pathlib import Path
from typing import Final

LOGINS: Final = ("migrator", "writer", "reader")


def create_secrets(directory: Path) -> None:
    """Creates the passwords of the containers and the database URLs with them, one file each.

    Existing files are kept, because the database was created with them. Other accounts of the machine cannot enter the directory.
    The files in it are readable by all, including the accounts inside the containers.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    for name in ("postgres", "grafana"):
        _keep(directory / f"{name}-password", secrets.token_urlsafe(24))
    for login in LOGINS:
        password = _keep(directory / f"{login}-password", secrets.token_urlsafe(24))
        _keep(directory / f"{login}-url", f"postgresql://{login}:{password}@postgres:5432/energy")


def _keep(file: Path, secret: str) -> str:
    """The content of the file, which is `secret` if the file did not exist."""
    if not file.exists():
        file.write_text(secret)
        file.chmod(0o644)
    return file.read_text()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.compose",
        description="Create the passwords of the containers and the database URLs with them. Existing files are kept.",
    )
    parser.add_argument(
        "--directory",
        type=Path,
        default=Path(".secrets"),
        help="from which docker-compose.yml mounts them (default: .secrets)",
    )
    directory = parser.parse_args().directory
    create_secrets(directory)
    sys.stderr.write(f"the secrets are in {directory}; next step: docker compose up --build --detach\n")


if __name__ == "__main__":
    main()
