"""The ranking of vehicles, faults, trends and aging vehicles."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.database import Database
from tests.support.database_rows import (
    insert_assignment,
    insert_evaluation,
    insert_fault,
    insert_trend,
    insert_unassigned_evaluation,
    update_fleet_totals,
)
from tests.support.records import meter, minute, vehicle
from tests.support.responses import StartApi, body, pages, problem

pytestmark = pytest.mark.anyio
NOON = minute(0)


def iso(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")


async def ranked_fleet(database: Database) -> None:
    end = datetime.now(UTC)
    for number, (ratio, kwh, temperature) in enumerate([(92.0, 30.0, 20.0), (80.0, 50.0, 40.0), (80.0, 40.0, 30.0)]):
        await insert_evaluation(
            database, f"VEH-{number}", end, ratio=ratio, ac_kwh=kwh, dc_kwh=kwh * 2, average_battery_temp=temperature,
            status="faulty" if ratio < 85 else "healthy",
        )  # fmt: skip
    for name in ("VEH-8", "VEH-9"):
        await insert_unassigned_evaluation(database, name, end)


@pytest.mark.parametrize(
    ("sort", "rising", "falling"),
    [
        ("efficiency", "12089", "01289"),
        ("energyAc", "02189", "12089"),
        ("energyDc", "89021", "12089"),
        ("temperature", "02189", "12089"),
        ("vehicleId", "01289", "98210"),
    ],
)
async def test_vehicles_rank_by_any_column_and_those_without_a_value_come_last(
    start_api: StartApi, database: Database, sort: str, rising: str, falling: str
) -> None:
    await ranked_fleet(database)
    client = start_api()
    for order, expected in {"asc": rising, "desc": falling}.items():
        found = pages(client, "/v1/fleet/ranking", sort=sort, order=order, limit=2)
        assert [len(page) for page in found] == [2, 2, 1]
        assert "".join(each["vehicleId"][-1] for page in found for each in page) == expected
        whole = body(client.get("/v1/fleet/ranking", params={"sort": sort, "order": order}))
        assert "".join(each["vehicleId"][-1] for each in whole["items"]) == expected
        assert (whole["total"], whole["next"]) == (5, None)


async def test_a_ranked_vehicle_has_its_newest_reading_fault_and_trend(
    start_api: StartApi, write: Any, database: Database
) -> None:
    await ranked_fleet(database)
    await write(vehicle=[vehicle("VEH-0", minute(3), soc=81)])
    await insert_fault(database, "VEH-0", NOON)
    await insert_trend(database, "VEH-0", "steady", None)

    first, second = body(start_api().get("/v1/fleet/ranking", params={"sort": "vehicleId", "limit": 2}))["items"]

    assert first == {
        "vehicleId": "VEH-0", "efficiencyRatio": 92, "status": "healthy", "reason": "92 % is at or above 90 %",
        "totalEnergyConsumedAc": 30, "totalEnergyDeliveredDc": 60, "averageBatteryTemp": 20,
        "coverage": {"ac": 1, "dc": 1}, "soc": 81, "recordedAt": iso(minute(3)), "faultOpen": True, "trend": "steady",
    }  # fmt: skip
    assert (second["soc"], second["recordedAt"], second["faultOpen"], second["trend"]) == (None, None, False, None)


async def test_a_ranking_can_be_filtered_and_counts_the_matches(start_api: StartApi, database: Database) -> None:
    await ranked_fleet(database)
    client = start_api()
    for filters, ids in (
        ({"status": "faulty"}, ["VEH-1", "VEH-2"]),
        ({"search": "eh-2"}, ["VEH-2"]),
        ({"search": "%"}, []),
        ({"status": "healthy", "search": "2"}, []),
    ):
        found = body(client.get("/v1/fleet/ranking", params={"sort": "vehicleId", **filters}))
        assert ([each["vehicleId"] for each in found["items"]], found["total"]) == (ids, len(ids)), filters
        assert found["total"] == body(client.get("/v1/fleet/ranking", params={"limit": 1, **filters}))["total"]


async def test_of_more_vehicles_than_a_request_counts_maintenance_has_counted_them(
    start_api: StartApi, database: Database
) -> None:
    await insert_evaluation(database, "VEH-0", datetime.now(UTC), status="faulty", ratio=80.0)
    await database.execute(
        "INSERT INTO vehicle_efficiency (vehicle_id, window_end, assigned_seconds, ac_kwh, dc_kwh, dc_kwh_assigned, ac_points, "
        "dc_points, dc_points_assigned, ratio, ac_coverage, dc_coverage, status, reason) "
        "SELECT 'VEH-' || number, now(), 1, 1, 1, 1, 1, 1, 1, 90 + number % 10, 1, 1, 'healthy', 'why' "
        "FROM generate_series(1, 5500) AS number"
    )
    await update_fleet_totals(database)
    client = start_api()
    for filters, total, is_exact, first in (
        ({}, 5501, True, "VEH-0"),
        ({"status": "healthy"}, 5500, True, "VEH-10"),
        ({"status": "faulty"}, 1, True, "VEH-0"),
        ({"search": "veh"}, 5000, False, "VEH-0"),
        ({"search": "h-55"}, 12, True, "VEH-550"),
        ({"search": "x"}, 0, True, None),
    ):
        found = body(client.get("/v1/fleet/ranking", params={"limit": 1, **filters}))
        assert (found["total"], found["totalIsExact"]) == (total, is_exact), filters
        assert [each["vehicleId"] for each in found["items"]] == [first][: total and 1], filters


async def test_a_cursor_is_valid_only_for_its_own_query(start_api: StartApi, database: Database) -> None:
    await ranked_fleet(database)
    client = start_api()
    after = body(client.get("/v1/fleet/ranking", params={"limit": 1}))["next"]
    for path, parameters in (
        ("/v1/fleet/ranking", {"after": after, "order": "desc"}),
        ("/v1/fleet/ranking", {"after": after, "sort": "energyAc"}),
        ("/v1/fleet/ranking", {"after": "VEH-1"}),
        ("/v1/fleet/ranking", {"after": "é"}),
        ("/v1/faults", {"after": after}),
        ("/v1/faults", {"after": "WzFlOTk5XQ"}),  # [1e999]
    ):
        assert problem(client.get(path, params=parameters), 422)["errors"][0]["field"] == "after", (path, parameters)
    assert problem(client.get("/v1/fleet/ranking", params={"search": "\0"}), 422)["errors"][0]["field"] == "search"


async def test_faults_are_listed_newest_first(start_api: StartApi, database: Database) -> None:
    closing = {"closed_at": minute(90), "closed_ratio": 91.0, "closed_ac_kwh": 20.0, "closed_dc_kwh": 18.2}
    await insert_fault(database, "VEH-1", minute(0), **closing)
    await insert_fault(database, "VEH-2", minute(10))
    await insert_fault(database, "VEH-1", minute(120))
    client = start_api()

    newest, _, oldest = everything = body(client.get("/v1/faults"))["items"]
    third, second, first = (each["faultId"] for each in everything)

    assert first < second < third
    assert newest == {
        "faultId": third, "vehicleId": "VEH-1", "meterIds": ["METER-1", "METER-2"], "state": "open",
        "openedAt": iso(minute(120)), "openedRatio": 71, "openedEnergyAc": 10, "openedEnergyDc": 7.1,
        "lowestRatio": 70, "closedAt": None, "closedRatio": None,
    }  # fmt: skip
    assert oldest == newest | {
        "faultId": first, "state": "closed", "openedAt": iso(minute(0)), "closedAt": iso(minute(90)), "closedRatio": 91,
    }  # fmt: skip
    for filters, ids in (
        ({"state": "open"}, [third, second]),
        ({"state": "closed"}, [first]),
        ({"vehicleId": "VEH-1"}, [third, first]),
    ):
        assert [each["faultId"] for each in body(client.get("/v1/faults", params=filters))["items"]] == ids
    assert pages(client, "/v1/faults", limit=2) == [everything[:2], everything[2:]]


async def test_a_vehicle_that_loses_a_tenth_of_a_percent_per_day_is_aging(
    start_api: StartApi, write: Any, database: Database
) -> None:
    await insert_assignment(database, "VEH-1", "METER-1")
    today = NOON.replace(hour=0)
    noons = [today - timedelta(days=back, hours=-12) for back in range(30, 0, -1)]
    dc = [92 - number / 10 + (number % 2) / 50 for number in range(30)]
    await write(
        meter=[meter("METER-1", noon, 100) for noon in noons],
        vehicle=[vehicle("VEH-1", noon, kwh) for noon, kwh in zip(noons, dc, strict=True)],
    )
    client = start_api(JUDGE_FROM_COVERAGE="0")

    found = body(client.get("/v1/analytics/trend/VEH-1", params={"end": iso(NOON)}))

    assert [each["day"] for each in found["days"]] == [noon.date().isoformat() for noon in noons]
    assert [each["efficiencyRatio"] for each in found["days"]] == [round(ratio, 2) for ratio in dc]
    assert {each["coverage"] for each in found["days"]} == {round(1 / 1440, 4)}
    assert found["slopeLow"] < found["slopePerDay"] < found["slopeHigh"] < 0
    assert found["slopePerDay"] == pytest.approx(-0.1, abs=0.001)
    assert found["level"] == pytest.approx(89.1, abs=0.05)
    assert found["daysUntilFault"] == pytest.approx(41, abs=1)
    assert (found["vehicleId"], found["status"]) == ("VEH-1", "aging")
    problem(client.get("/v1/analytics/trend/VEH-404"), 404)

    strict = body(start_api().get("/v1/analytics/trend/VEH-1", params={"end": iso(NOON)}))
    assert (strict["status"], strict["slopePerDay"]) == ("insufficient_data", None)
    assert strict["days"] == found["days"], "they are shown, and none can be judged"


async def test_aging_vehicles_are_listed_soonest_fault_first(start_api: StartApi, database: Database) -> None:
    for name, status, days in (("a", "aging", 30.0), ("b", "aging", 2.5), ("c", "steady", 1.0), ("d", "aging", 90.0)):
        await insert_trend(database, f"VEH-{name}", status, days)
    client = start_api()
    first, *others = body(client.get("/v1/fleet/aging"))["items"]
    assert [each["vehicleId"] for each in others] == ["VEH-a", "VEH-d"]
    assert first == {
        "vehicleId": "VEH-b", "status": "aging", "slopePerDay": -0.1, "slopeLow": -0.2, "slopeHigh": -0.05, "level": 88,
        "daysUntilFault": 2.5, "lastDay": NOON.date().isoformat(), "computedAt": iso(NOON),
    }  # fmt: skip
    assert body(client.get("/v1/fleet/aging", params={"limit": 1}))["items"] == [first]
