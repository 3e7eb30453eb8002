"""DATABASE_CELLS: the databases of several cells."""

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from api.settings import ApiSettings

NORTH, SOUTH = "postgresql://reader:Tr0mbone@north/energy", "postgresql://reader:Tr0mbone@south/energy"


@pytest.fixture(autouse=True)
def without_ingestion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGESTION_ENABLED", "false")


@pytest.mark.parametrize("listed", [f"north={NORTH} south={SOUTH}", f"\nnorth={NORTH}\n  south={SOUTH}\n"])
def test_cells_are_listed_by_name_in_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, listed: str) -> None:
    monkeypatch.setenv("DATABASE_CELLS", listed)
    assert list(ApiSettings().cells.items()) == [("north", SecretStr(NORTH)), ("south", SecretStr(SOUTH))]
    monkeypatch.delenv("DATABASE_CELLS")
    (tmp_path / "cells").write_text(listed)
    monkeypatch.setenv("DATABASE_CELLS_FILE", str(tmp_path / "cells"))
    assert list(ApiSettings().cells) == ["north", "south"]


def test_without_the_setting_there_is_one_database() -> None:
    assert ApiSettings().cells == {}


@pytest.mark.parametrize(
    ("listed", "error"),
    [
        (NORTH, "entry 1 must have the form name=postgresql://"),
        (f"north={NORTH} {SOUTH}", "entry 2 must have the form name=postgresql://"),
        (f"North={NORTH}", "entry 1 must have the form name=postgresql://"),
        (f"north/../x={NORTH}", "entry 1 must have the form name=postgresql://"),
        (f"north={NORTH} north={SOUTH}", "the cell north is listed twice"),
        ("north=mysql://reader:Tr0mbone@north/energy", "the URL of the cell north: must have the form postgresql://"),
        (f"north={NORTH}?hostaddr=Tr0mbone", "the URL of the cell north: the driver does not implement"),
    ],
)
def test_a_wrong_list_is_rejected_without_quoting_a_password(
    monkeypatch: pytest.MonkeyPatch, listed: str, error: str
) -> None:
    monkeypatch.setenv("DATABASE_CELLS", listed)
    with pytest.raises(ValidationError) as rejected:
        ApiSettings()
    assert error in str(rejected.value)
    assert "Tr0mbone" not in str(rejected.value)


@pytest.mark.parametrize(
    ("setting", "value", "error"),
    [
        ("DATABASE_READ_URL", NORTH, "list the replicas as the cells"),
        ("INGESTION_ENABLED", "true", "set INGESTION_ENABLED=false"),
    ],
)
def test_settings_that_need_one_database_exclude_cells(
    monkeypatch: pytest.MonkeyPatch, setting: str, value: str, error: str
) -> None:
    monkeypatch.setenv("DATABASE_CELLS", f"north={NORTH}")
    monkeypatch.setenv(setting, value)
    with pytest.raises(ValidationError, match=error):
        ApiSettings()
