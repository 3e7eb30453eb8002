"""Answers about months that retention has dropped: the same as before, from the archive; without it, what is missing."""

import csv
import io
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from sql.maintenance.retention import drop_expired_months
from tests.support.database import Database
from tests.support.database_rows import (
    FORGET_WATERMARKS,
    begin_folding,
    finish_folding,
    insert_assignment,
    merge_late_readings,
    roll_up,
)
from tests.support.expired_months import connect_as_maintenance
from tests.support.records import meter, minute, vehicle
from tests.support.responses import StartApi, body, pages, problem

pytestmark = pytest.mark.anyio

DAY = timedelta(days=1)
MIDNIGHT = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
KEPT = (MIDNIGHT - 40 * DAY).replace(day=1)  # the first day that stays in the database
DROPPED = (KEPT - DAY).replace(day=1)
VEHICLE, METER = "/v1/vehicles/VEH-1/history", "/v1/meters/METER-1/history"
AROUND = {"from": (KEPT - 2 * DAY).isoformat(), "to": (KEPT + DAY).isoformat()}
QUESTIONS: list[tuple[str, dict[str, Any]]] = [
    (VEHICLE, {**AROUND, "limit": 100}),
    (METER, {**AROUND, "limit": 100}),
    (VEHICLE, {**AROUND, "resolution": "hour", "limit": 30}),
    (METER, {**AROUND, "resolution": "hour", "limit": 30}),
    (VEHICLE, {**AROUND, "resolution": "day", "timezone": "Asia/Kolkata"}),
    (METER, {**AROUND, "resolution": "day", "timezone": "Asia/Kolkata"}),
]
ANALYTICS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/analytics/performance/VEH-1", {"end": (KEPT + DAY / 2).isoformat()}),
    ("/v1/analytics/performance/VEH-1", {"end": (KEPT - DAY / 2).isoformat()}),
    ("/v1/analytics/performance", {"vehicleId": ["VEH-1", "VEH-2"], "end": KEPT.isoformat()}),
    ("/v1/analytics/trend/VEH-1", {"end": (KEPT + DAY).isoformat()}),
]


async def retire(database: Database, archive: Path | None) -> None:
    """Fold the month before KEPT and drop it; archive it where a directory is given."""
    connection = await connect_as_maintenance(database)
    try:
        await begin_folding(connection, KEPT)
        await finish_folding(connection)
        await merge_late_readings(connection)
        assert await drop_expired_months(connection, KEPT + 37 * DAY, 30, archive) == [f"{DROPPED:%Y-%m}"]
    finally:
        connection.terminate()


@pytest.fixture
async def readings(database: Database, write: Any) -> None:
    """Two days on each side of the border, of two vehicles with their meters; one changes its meter at noon before the border."""
    await drop_empty_months(database)
    await database.execute(FORGET_WATERMARKS)
    await database.fetch("SELECT ensure_history_partitions($1, $2)", DROPPED, MIDNIGHT)
    await insert_assignment(database, "VEH-1", "METER-1", KEPT - 30 * DAY, KEPT - DAY / 2)
    await insert_assignment(database, "VEH-1", "METER-2", KEPT - DAY / 4, None)
    await insert_assignment(database, "VEH-2", "METER-3")
    instants = [KEPT + timedelta(minutes=7 * number) for number in range(-412, 412)]
    kwh = {at: number % 64 / 64 for number, at in enumerate(instants)}
    await write(
        meter=[meter(f"METER-{number}", at, kwh[at]) for number in (1, 2, 3) for at in instants],
        vehicle=[
            vehicle(f"VEH-{number}", at, kwh[at] * 0.75, soc=number + kwh[at], batteryTemp=20 + kwh[at])
            for number in (1, 2)
            for at in instants
        ],
    )
    await write(
        meter=[meter(f"METER-{number}", minute(0)) for number in (1, 2, 3)],
        vehicle=[vehicle(f"VEH-{number}", minute(0)) for number in (1, 2)],
    )


async def drop_empty_months(database: Database) -> None:
    """Months before DROPPED, which would be dropped as well."""
    await database.execute(
        "DO $$ DECLARE part text; BEGIN FOR part IN SELECT relname FROM pg_class "
        r"WHERE relkind = 'r' AND relname ~ '_y\d{4}m\d{2}$' "
        f"AND right(relname, 7) < '{DROPPED:%Ym%m}' "
        "LOOP EXECUTE format('DROP TABLE %I', part); END LOOP; END $$"
    )


def answers(client: httpx.Client) -> list[Any]:
    """The answers to all questions: whole pages of history, and the analytics."""
    history = [pages(client, path, **parameters) for path, parameters in QUESTIONS]
    return [*history, *(body(client.get(path, params=parameters)) for path, parameters in ANALYTICS)]


def approximately(answer: Any) -> Any:
    """An answer in which numbers may differ by their last digits, because they were added in another order."""
    if isinstance(answer, dict):
        return {name: approximately(value) for name, value in answer.items()}
    if isinstance(answer, list):
        return [approximately(each) for each in answer]
    return pytest.approx(answer, rel=1e-12) if isinstance(answer, float) else answer


@pytest.mark.parametrize("rolled_up", [False, True])
async def test_answers_are_the_same_before_and_after_a_month_is_dropped(
    start_api: StartApi, database: Database, readings: None, tmp_path: Path, rolled_up: bool
) -> None:
    archive = tmp_path / "archive"
    if rolled_up:
        await roll_up(database, KEPT + 30 * DAY)
    client = start_api(ARCHIVE_DIRECTORY=str(archive))
    before = answers(client)
    assert client.get(VEHICLE, params=AROUND).headers["data-source"] == "replica"
    await retire(database, archive)
    assert answers(client) == approximately(before)
    assert sum(len(page) for page in before[0]) == 411 + 206
    for path, parameters in QUESTIONS + ANALYTICS:
        assert client.get(path, params=parameters).headers["data-source"] == "replica, archive", path


async def test_readings_that_arrive_after_their_month_was_dropped_are_joined(
    start_api: StartApi, database: Database, readings: None, tmp_path: Path, write: Any
) -> None:
    client = start_api(ARCHIVE_DIRECTORY=str(tmp_path))
    await retire(database, tmp_path)
    at = KEPT - DAY + timedelta(seconds=1)
    period = {"from": (at - timedelta(hours=1)).isoformat(), "to": (at + timedelta(hours=1)).isoformat()}
    (before,) = pages(client, VEHICLE, **period)
    await database.fetch(
        "INSERT INTO vehicle_late_readings (vehicle_id, recorded_at, kwh_delivered_dc, soc, battery_temp) "
        "VALUES ('VEH-1', $1, 0.5, 50, 25)",
        at,
    )
    (after,) = pages(client, VEHICLE, **period)
    assert len(after) == len(before) + 1
    assert [each["recordedAt"] for each in after] == sorted(each["recordedAt"] for each in after)
    await database.fetch("SELECT ensure_history_partitions($1, $1)", DROPPED)
    await retire(database, tmp_path)
    assert pages(client, VEHICLE, **period) == [after], "from two archives of the month"


async def test_without_the_directory_the_answer_says_what_is_missing(
    start_api: StartApi, database: Database, readings: None, tmp_path: Path
) -> None:
    client = start_api()
    await retire(database, tmp_path)
    for path, parameters in QUESTIONS + ANALYTICS:
        details = problem(client.get(path, params=parameters), 410)
        assert details["detail"].startswith(
            f"readings of {DROPPED:%Y-%m} are only in the archive, and this service has no"
        )
    since = {"from": KEPT.isoformat(), "to": (KEPT + DAY).isoformat()}
    assert body(client.get(VEHICLE, params=since))["items"]


async def test_a_month_that_was_dropped_without_an_archive_is_named(
    start_api: StartApi, database: Database, readings: None, tmp_path: Path
) -> None:
    client = start_api(ARCHIVE_DIRECTORY=str(tmp_path))
    await retire(database, None)
    details = problem(client.get(VEHICLE, params=AROUND), 410)
    assert details["detail"] == f"readings of {DROPPED:%Y-%m} were dropped without an archive; ask for another period"


async def test_a_file_that_cannot_be_read_is_reported_without_its_path(
    start_api: StartApi, database: Database, readings: None, tmp_path: Path
) -> None:
    client = start_api(ARCHIVE_DIRECTORY=str(tmp_path / "archive"))
    await retire(database, tmp_path / "archive")
    shutil.move(tmp_path / "archive", tmp_path / "elsewhere")
    details = problem(client.get(VEHICLE, params=AROUND), 503)
    assert str(tmp_path) not in details["detail"]
    shutil.move(tmp_path / "elsewhere", tmp_path / "archive")
    assert body(client.get(VEHICLE, params=AROUND))["items"], "it is there again"


async def test_many_vehicles_are_not_read_from_the_archive_at_once(
    start_api: StartApi, database: Database, readings: None, tmp_path: Path, write: Any
) -> None:
    client = start_api(ARCHIVE_DIRECTORY=str(tmp_path))
    ids = [f"VEH-{number}" for number in range(1, 22)]
    await write(vehicle=[vehicle(each, minute(0)) for each in ids])
    await retire(database, tmp_path)
    parameters = {"vehicleId": ids, "end": KEPT.isoformat()}
    assert "20 vehicles at most" in problem(client.get("/v1/analytics/performance", params=parameters), 422)["detail"]
    assert body(client.get("/v1/analytics/performance", params={"vehicleId": ids, "end": MIDNIGHT.isoformat()}))


async def test_exports_hold_all_pages_of_the_database_and_the_archive(
    start_api: StartApi, database: Database, readings: None, tmp_path: Path
) -> None:
    client = start_api(ARCHIVE_DIRECTORY=str(tmp_path))
    await retire(database, tmp_path)
    for path, name in ((VEHICLE, "vehicleId"), (METER, "meterId")):
        expected = [item for page in pages(client, path, **AROUND, limit=100) for item in page]
        response = client.get(path, params=AROUND, headers={"Accept": "text/csv"})
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/csv")
        assert response.headers["data-source"] == "replica, archive"
        lines = list(csv.DictReader(io.StringIO(response.text)))
        device = {name: path.split("/")[3]}
        assert [
            {key: value if key in ("recordedAt", name) else float(value) for key, value in line.items()}
            for line in lines
        ] == [device | item for item in expected]
        table = client.get(path, params=AROUND, headers={"Accept": "application/vnd.apache.parquet"})
        assert pq.read_table(io.BytesIO(table.content)).num_rows == len(expected)


async def test_what_cannot_be_exported_is_a_problem(start_api: StartApi, database: Database, readings: None) -> None:
    client = start_api()
    csv_only = {"Accept": "text/csv"}
    problem(client.get("/v1/vehicles/NOBODY/history", headers=csv_only), 404)
    assert "JSON" in problem(client.get(VEHICLE, params={"resolution": "day"}, headers=csv_only), 422)["detail"]
    await retire(database, None)
    problem(client.get(VEHICLE, params=AROUND, headers=csv_only), 410)
