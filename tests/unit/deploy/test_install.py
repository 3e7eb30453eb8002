"""deploy/install.sh: the choice between uv and pip, and the errors of both."""

import subprocess
from pathlib import Path

import pytest

from tests.support.repository import ROOT

LOCK = "one==1 \\\n    --hash=sha256:00\ntwo==2 ; sys_platform == 'win32' \\\n    --hash=sha256:01\n"
PIP = 'case "$3" in config) echo "$PIP_CONFIGURATION" ;; install) echo "pip: $*"; echo "$PIP_ERROR" >&2; exit $PIP_CODE ;; esac'
UV = 'echo "uv: $*"; exit $UV_CODE'


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A directory with stand-ins for python and uv, which print their arguments."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for name, script in (("python", PIP), ("uv", UV)):
        (directory / name).write_text(f"#!/bin/sh\n{script}\n")
        (directory / name).chmod(0o755)
    (tmp_path / "some.lock").write_text(LOCK)
    return directory


def install(programs: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [str(ROOT / "deploy" / "install.sh"), str(programs / "python"), str(programs.parent / "some.lock")]
    settings = {
        "PIP_CONFIGURATION": "",
        "PIP_ERROR": "",
        "PIP_CODE": "0",
        "UV_CODE": "0",
        "PATH": f"{programs}:/usr/bin:/bin",
    }
    return subprocess.run(command, env=settings | environment, capture_output=True, text=True, check=False)


def test_uv_installs_with_hashes_where_it_is_on_the_path(programs: Path) -> None:
    done = install(programs)
    assert done.returncode == 0
    assert done.stdout.startswith("uv: pip install")
    assert "--require-hashes" in done.stdout
    assert f"--python {programs / 'python'} " in done.stdout
    assert done.stderr == "Installing 2 packages of some.lock with uv (once) ...\n"


def test_pip_installs_with_hashes_where_uv_is_missing(programs: Path) -> None:
    (programs / "uv").unlink()
    done = install(programs)
    assert done.stdout.startswith("pip: -m pip install --quiet")
    assert "--require-hashes" in done.stdout
    assert done.stderr.startswith("Installing 2 packages of some.lock with pip (once) ...\n")


@pytest.mark.parametrize("name", ["global.index-url", ":env:.extra-index-url", "global.no-index"])
def test_pip_installs_where_an_index_is_configured_for_pip_alone(name: str, programs: Path) -> None:
    assert install(programs, PIP_CONFIGURATION=f"{name}='x'").stdout.startswith("pip:")
    done = install(programs, PIP_CONFIGURATION=f"{name}='x'", UV_DEFAULT_INDEX="x")
    assert done.stdout.startswith("uv:")


def test_pip_tries_again_when_uv_fails(programs: Path) -> None:
    done = install(programs, UV_CODE="2")
    assert done.returncode == 0
    assert "pip: -m pip install" in done.stdout


def test_the_error_of_pip_is_shown(programs: Path) -> None:
    done = install(programs, UV_CODE="2", PIP_CODE="3", PIP_ERROR="THESE PACKAGES DO NOT MATCH THE HASHES")
    assert done.returncode == 3
    assert "DO NOT MATCH THE HASHES" in done.stderr
