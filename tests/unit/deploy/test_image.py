"""What the Dockerfile copies and installs is enough for every role: no engine is needed to see that."""

import ast
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.support.repository import ROOT

ROOMS = re.findall(r"^COPY ([a-z]+) \1$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
LOCKED = set(re.findall(r"^([a-z0-9][a-z0-9._-]*)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))


def imported(file: Path) -> set[str]:
    """The top names of what a source imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module).split(".")[0])
    return names


def test_every_import_of_the_image_is_in_it() -> None:
    files = [file for room in ROOMS for file in (ROOT / room).rglob("*.py")]
    assert len(files) > 50
    foreign = {name for file in files for name in imported(file)} - set(ROOMS) - set(sys.stdlib_module_names)
    comes_from = {
        name: {each.lower().replace("_", "-") for each in packages_distributions().get(name, [])} for name in foreign
    }
    assert {name: found for name, found in comes_from.items() if not found & LOCKED} == {}


@pytest.mark.parametrize(
    "role", [["consumer"], ["api"], ["sql"], ["sql", "migrate"], ["sql", "maintain"]], ids=" ".join
)
def test_a_role_starts_from_what_is_copied_alone(role: list[str], tmp_path: Path) -> None:
    for room in ROOMS:
        (tmp_path / room).symlink_to(ROOT / room)
    command = [sys.executable, "-m", *role, "--help"]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_the_command_by_default_is_the_consumer_and_is_asked_for_its_health() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert 'CMD ["python", "-m", "consumer"]' in dockerfile
    assert "http://127.0.0.1:9464/healthz" in dockerfile
