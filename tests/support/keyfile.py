"""A file of API keys, as an operator keeps one: made, rotated and revoked with `python -m api keys`."""

import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from api.auth.api_keys import ApiKeys, Scope, new_key
from api.auth.key_file import change_keys, read_keys
from tests.support.services import ROOT


@dataclass(frozen=True, slots=True)
class KeyFile:
    """The file, and what keys are in it."""

    path: Path

    @property
    def settings(self) -> dict[str, str]:
        """What the read service is started with, so that it asks for these keys."""
        return {"API_OPEN": "", "API_KEYS_FILE": str(self.path)}

    def add(self, *scopes: Scope, devices: list[str] | None = None, expires_in: timedelta | None = None) -> str:
        """One more key; its secret."""
        now = datetime.now(UTC)
        expires = now + expires_in if expires_in is not None else None
        secret, key = new_key("test", scopes, created=now, devices=devices, expires=expires)
        change_keys(self.path, lambda keys: ApiKeys({**keys.by_id, key.id: key}))
        return secret

    def does(self, *arguments: str) -> str:
        """What `python -m api keys ...` prints when it succeeds."""
        done = self.tries(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def tries(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The same, however it ends."""
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

    @property
    def ids(self) -> set[str]:
        return set(read_keys(self.path).by_id)


def id_of(secret: str) -> str:
    """The part of a key that may be named."""
    return secret.split("_")[1]


def bearer(secret: str) -> dict[str, str]:
    """The header that carries a key."""
    return {"Authorization": f"Bearer {secret}"}
