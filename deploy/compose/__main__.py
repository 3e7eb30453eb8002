"""`python -m deploy.compose`: the secrets that docker-compose.yml mounts, drawn at random, once."""

import secrets
from pathlib import Path
from typing import Annotated, Final

import typer

LOGINS: Final = ("migrator", "writer", "reader")


def main(
    directory: Annotated[Path, typer.Option(help="where docker-compose.yml looks for them")] = Path(".secrets"),
) -> None:
    """Make the passwords of the containers, and the addresses that carry them, each in a file of its own.

    What is there already stays as it is: the database was made with it. The directory is closed to other accounts of this
    machine; the files in it are not, for the accounts inside the containers must read them.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    for name in ("postgres", "grafana"):
        _keep(directory / f"{name}-password", secrets.token_urlsafe(24))
    for login in LOGINS:
        password = _keep(directory / f"{login}-password", secrets.token_urlsafe(24))
        _keep(directory / f"{login}-url", f"postgresql://{login}:{password}@postgres:5432/energy")
    typer.echo(f"the secrets are in {directory}; next: docker compose up --build --detach", err=True)


def _keep(file: Path, secret: str) -> str:
    """What the file says; the secret, written to it, when it is not there yet."""
    if not file.exists():
        file.write_text(secret)
        file.chmod(0o644)
    return file.read_text()


if __name__ == "__main__":
    typer.run(main)
