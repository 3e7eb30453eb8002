"""What a process says where pyarrow, which the smaller image does not have, is needed."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from api.settings import ApiSettings
from schemas.config import extras
from sql.__main__ import app
from sql.settings import MaintainSettings


@pytest.fixture(autouse=True)
def without_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)


@pytest.mark.parametrize("settings", [ApiSettings, MaintainSettings])
def test_an_archive_directory_needs_the_extra(settings: Any, tmp_path: Path) -> None:
    assert settings(archive_directory=None).archive_directory is None
    with pytest.raises(ValidationError, match=r"ARCHIVE_DIRECTORY needs the extra `archive`: pip install"):
        settings(archive_directory=tmp_path)


@pytest.mark.parametrize(
    "command",
    [["export", "meters", "file.parquet", "--from", "2026-02-09", "--to", "2026-02-10"], ["archive", "verify", "."]],
)
def test_commands_name_the_extra(command: list[str]) -> None:
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 2
    assert "needs the extra `archive`: pip install" in done.stderr
