"""A file of API keys, managed with `python -m api keys` as an operator does."""

import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from api.auth.api_keys import ApiKeys, Scope, new_key
from api.auth.key_file import change_keys, read_keys
from tests.support.repository import ROOT


@dataclass(frozen=True, slots=True)
class KeyFile:
    """The path of a key file, and what a test does with its keys."""

    path: Path

    @property
    def settings(self) -> dict[str, str]:
        """Environment variables that make the read service require the keys of this file."""
        return {"API_OPEN": "", "API_KEYS_FILE": str(self.path)}

    def add(self, *scopes: Scope, devices: list[str] | None = None, expires_in: timedelta | None = None) -> str:
        """Adds a key and returns its secret."""
        now = datetime.now(UTC)
        expires = now + expires_in if expires_in is not None else None
        secret, key = new_key("test", scopes, created=now, devices=devices, expires=expires)
        change_keys(self.path, lambda keys: ApiKeys({**keys.by_id, key.id: key}))
        return secret

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs `python -m api keys ...` on this file."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("API_")}
        command = [sys.executable, "-m", "api", "keys", *arguments]
        return subprocess.run(
            command,
            env=environment | {"API_KEYS_FILE": str(self.path)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    def succeed(self, *arguments: str) -> str:
        """stdout of `python -m api keys ...`, which must exit with code 0."""
        result = self.run(*arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()

    @property
    def ids(self) -> set[str]:
        return set(read_keys(self.path).by_id)


def id_of(secret: str) -> str:
    """The public part of a key, its id."""
    return secret.split("_")[1]


def bearer(secret: str) -> dict[str, str]:
    """The Authorization header with a key."""
    return {"Authorization": f"Bearer {secret}"}
