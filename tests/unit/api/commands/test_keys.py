"""`python -m api keys` as an operator runs it, and the start of the API with missing or invalid access settings."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.key_file import KeyFile, id_of
from tests.support.repository import ROOT


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys.json")


def test_keys_are_created_listed_rotated_and_revoked(keys: KeyFile) -> None:
    created = keys.run(
        "create", "--name", "gateway north", "--scope", "ingest", "--devices", "METER-N", "--devices", "VEH-N"
    )
    secret = created.stdout.strip()
    assert created.returncode == 0
    assert secret not in created.stderr, "the secret is printed to stdout only"
    assert "only you can read it" in created.stderr
    assert keys.succeed("list").split("\t")[:3] == [id_of(secret), "ingest", "METER-N,VEH-N"]

    second = keys.succeed("rotate", id_of(secret), "--overlap-hours", "2")
    first_line, second_line = keys.succeed("list").splitlines()
    assert ("until" in first_line, "until" in second_line) == (True, False)
    assert second_line.split("\t")[:3] == [id_of(second), "ingest", "METER-N,VEH-N"]
    assert "gateway north" in second_line

    keys.succeed("revoke", id_of(secret))
    assert keys.ids == {id_of(second)}
    assert secret not in keys.path.read_text()


def test_errors_are_reported_without_repeating_secrets(keys: KeyFile) -> None:
    secret = keys.succeed("create", "--name", "n", "--scope", "read")
    for arguments, message in (
        (("revoke", secret), "no key with that id"),
        (("rotate", secret), "no key with that id"),
        (("create", "--name", "n", "--scope", "read", "--devices", "METER-"), "without the scope ingest"),
        (("list", "--file", str(keys.path.parent / "other.json")), "does not exist"),
        (("create", "--name", "n", "--scope", "read", "--file", "/proc/keys.json"), "cannot be written"),
    ):
        done = keys.run(*arguments)
        assert (done.returncode, done.stdout) == (1, ""), arguments
        assert message in done.stderr
        assert "Traceback" not in done.stderr
        assert secret not in done.stderr
    assert keys.ids == {id_of(secret)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "access to the API is not configured"),
        ({"API_KEYS_FILE": "no-such-file.json"}, "no-such-file.json does not exist"),
        ({"API_KEYS_FILE": "README.md"}, "README.md is not a key file"),
        ({"API_KEYS_FILE": "README.md", "API_OPEN": "true"}, "unset one of them"),
        ({"API_OPEN": "true", "CORS_ORIGINS": "*"}, "is not an origin"),
        ({"API_OPEN": "true", "CORS_ORIGINS": "https://a.example/path"}, "is not an origin"),
    ],
)
def test_the_service_does_not_start_without_valid_access_settings(settings: dict[str, str], message: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("API_", "CORS_"))}
    done = subprocess.run(
        [sys.executable, "-m", "api"],
        env=environment | settings,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
