"""Readings and sums of one device from archive files equal those of the list of readings they were written from."""

from datetime import UTC, date, datetime, timedelta
from math import fsum
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sql.archive import parquet
from sql.archive.manifest import ArchivedFile, ArchiveError, Contents, Manifest, write_manifest
from sql.archive.parquet import ParquetFile
from sql.archive.reader import Sums, readings_of, sums_of

HISTORY = "vehicle_telemetry_history"
MONTH = datetime(2025, 9, 1, tzinfo=UTC)
COLUMNS = ["recorded_at", "kwh_delivered_dc", "soc", "battery_temp"]
READINGS_A_DEVICE = 50


def reading(device: int, minute: int) -> dict[str, Any]:
    at = MONTH + timedelta(minutes=minute, milliseconds=device)
    return {
        "recorded_at": at,
        "ingested_at": at + timedelta(milliseconds=300),
        "kwh_delivered_dc": minute / 1000,
        "soc": float(device),
        "battery_temp": 20 + minute / 10,
        "vehicle_id": f"VEH-{device:03d}",
    }


def write_month(directory: Path, rows: list[dict[str, Any]]) -> Path:
    """An archive of one month, with the readings in the order of device and instant."""
    directory.mkdir()
    path = directory / f"{HISTORY}.parquet"
    us = pa.timestamp("us", "UTC")
    fields = {name: us if name.endswith("_at") else pa.float64() for name in rows[0]}
    file = ParquetFile(path, HISTORY)
    file.write(pa.Table.from_pylist(rows, pa.schema({**fields, "vehicle_id": pa.string()})))
    file.close()
    contents = Contents(readings=len(rows), derived=0, energy_mwh=0, first=None, last=None)
    archived = ArchivedFile(
        history=HISTORY, file=path.name, bytes=0, sha256="", columns=list(rows[0]), contents=contents, version=2
    )
    manifest = Manifest(month=date(2025, 9, 1), written_at=MONTH, database="this", server=18, files=[archived])
    write_manifest(directory, manifest)
    return path


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten devices; a row group holds the readings of one and a fifth of them."""
    directory = tmp_path_factory.mktemp("archive") / "2025-09"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "ROWS_PER_GROUP", READINGS_A_DEVICE * 6 // 5)
        write_month(directory, [reading(device, minute) for device in range(10) for minute in range(READINGS_A_DEVICE)])
    return directory


@settings(deadline=None)
@given(st.integers(0, 10), st.integers(-5, 60), st.integers(0, 60))
def test_a_device_and_a_period_are_found(month: Path, device: int, first: int, length: int) -> None:
    opens = MONTH + timedelta(minutes=first, milliseconds=device)
    period = opens, opens + timedelta(minutes=length)
    minutes = range(max(0, first), min(READINGS_A_DEVICE, first + length)) if device < 10 else range(0)
    expected = [reading(device, minute) for minute in minutes]
    found = readings_of([month], HISTORY, f"VEH-{device:03d}", period, COLUMNS)
    assert found.to_pylist() == [{name: row[name] for name in COLUMNS} for row in expected]
    (sums,) = sums_of([month], HISTORY, "kwh_delivered_dc", f"VEH-{device:03d}", [period])
    assert sums == Sums(
        kwh=fsum(row["kwh_delivered_dc"] for row in expected),
        readings=len(expected),
        battery_temp_sum=fsum(row["battery_temp"] for row in expected) if expected else None,
        battery_temp_max=max((row["battery_temp"] for row in expected), default=None),
        soc_min=float(device) if expected else None,
        soc_max=float(device) if expected else None,
    )


def test_only_the_row_groups_of_the_device_are_read(month: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    original = pq.ParquetFile.read_row_group

    def read_row_group(file: Any, group: int, **options: Any) -> Any:
        read.append(group)
        return original(file, group, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", read_row_group)
    period = MONTH, MONTH + timedelta(days=1)
    assert readings_of([month], HISTORY, "VEH-007", period, COLUMNS).num_rows == READINGS_A_DEVICE
    assert read == [5, 6]
    assert readings_of([month], HISTORY, "VEH-010", period, COLUMNS).num_rows == 0
    assert read == [5, 6]


def test_an_instant_in_two_archives_of_a_month_is_read_once(month: Path, tmp_path: Path) -> None:
    again = tmp_path / "2025-09-2"
    write_month(again, [reading(3, minute) for minute in range(45, 55)])
    period = MONTH, MONTH + timedelta(days=1)
    found = readings_of([month, again], HISTORY, "VEH-003", period, COLUMNS)
    assert found["recorded_at"].to_pylist() == [reading(3, minute)["recorded_at"] for minute in range(55)]


def test_ingested_at_is_read_back(month: Path) -> None:
    period = MONTH, MONTH + timedelta(minutes=1)
    (row,) = readings_of([month], HISTORY, "VEH-003", period, ["ingested_at", "recorded_at"]).to_pylist()
    assert row == {name: reading(3, 0)[name] for name in ("ingested_at", "recorded_at")}


def test_a_history_that_had_no_readings_has_none(month: Path) -> None:
    period = MONTH, MONTH + timedelta(days=1)
    found = readings_of([month], "meter_telemetry_history", "METER-1", period, ["recorded_at", "kwh_consumed_ac"])
    assert found.to_pylist() == []


@pytest.mark.parametrize("missing", ["manifest.json", f"{HISTORY}.parquet"])
def test_a_missing_file_raises_an_archive_error(tmp_path: Path, missing: str) -> None:
    directory = tmp_path / "2025-09"
    write_month(directory, [reading(1, 1)])
    (directory / missing).unlink()
    with pytest.raises(ArchiveError, match="2025-09"):
        readings_of([directory], HISTORY, "VEH-001", (MONTH, MONTH + timedelta(days=1)), COLUMNS)


def test_a_replaced_file_is_read_again(tmp_path: Path) -> None:
    directory = tmp_path / "2025-09"
    period = MONTH, MONTH + timedelta(days=1)
    path = write_month(directory, [reading(1, 1)])
    assert readings_of([directory], HISTORY, "VEH-001", period, COLUMNS).num_rows == 1
    path.unlink()
    (directory / "manifest.json").unlink()
    directory.rmdir()
    write_month(directory, [reading(1, 1), reading(1, 2)])
    assert readings_of([directory], HISTORY, "VEH-001", period, COLUMNS).num_rows == 2


def test_files_of_version_1_are_read() -> None:
    directory = Path(__file__).parents[3] / "integration" / "sql" / "archive" / "version_1" / "2024-01"
    january = datetime(2024, 1, 1, tzinfo=UTC)
    period = january + timedelta(minutes=10), january + timedelta(minutes=20)
    found = readings_of([directory], HISTORY, "VEH-1", period, [*COLUMNS, "ingested_at"])
    assert found["recorded_at"].to_pylist() == [january + timedelta(minutes=minute) for minute in range(10, 20)]
    assert found["ingested_at"].null_count == 0
    (sums,) = sums_of([directory], "meter_telemetry_history", "kwh_consumed_ac", "METER-2", [period])
    assert sums.readings == 10
