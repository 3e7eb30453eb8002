"""The command `python -m deploy.compose`, which creates the random secrets that docker-compose.yml mounts."""

import secrets
from pathlib import Path
from typing import Annotated, Final

import typer

LOGINS: Final = ("migrator", "writer", "reader")


def main(
    directory: Annotated[Path, typer.Option(help="directory from which docker-compose.yml mounts them")] = Path(
        ".secrets"
    ),
) -> None:
    """Create the passwords of the containers and the database URLs with them, one file each.

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
    typer.echo(f"the secrets are in {directory}; next step: docker compose up --build --detach", err=True)


def _keep(file: Path, secret: str) -> str:
    """The content of the file, which is `secret` if the file did not exist."""
    if not file.exists():
        file.write_text(secret)
        file.chmod(0o644)
    return file.read_text()


if __name__ == "__main__":
    typer.run(main)
