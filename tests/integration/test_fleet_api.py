"""Many vehicles at once, their faults and their trends, asked over HTTP."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from deploy.stack.ports import free_port
from tests.answers import Ask, body, pages, problem
from tests.arrange import assign, evaluate, insert, unassigned
from tests.records import meter, minute, vehicle
from tests.servers import Database

pytestmark = pytest.mark.anyio
NOON = minute(0)
TOMORROW = NOON + timedelta(hours=24)
PERFORMANCE = "/v1/analytics/performance"
NO_VEHICLES = {
    "healthy": 0, "degraded": 0, "faulty": 0, "insufficientData": 0, "unassigned": 0, "implausible": 0,
}  # fmt: skip


def said(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")


async def two_vehicles_measured_and_one_not(write: Any, database: Database) -> None:
    for number in (1, 2):
        await assign(database, f"VEH-{number}", f"METER-{number}")
    await write(
        meter=[meter(f"METER-{number}", minute(each), number) for number in (1, 2, 3) for each in range(100)],
        vehicle=[vehicle(f"VEH-{number}", minute(each), number / 2) for number in (1, 2, 3) for each in range(100)],
    )


async def test_many_vehicles_are_given_in_the_order_asked_and_as_each_alone(
    ask: Ask, write: Any, database: Database
) -> None:
    await two_vehicles_measured_and_one_not(write, database)
    client = ask()
    asked = ["VEH-3", "VEH-404", "VEH-1", "VEH-2", "VEH-1"]

    found = body(client.get(PERFORMANCE, params={"vehicleId": asked, "end": said(TOMORROW)}))

    assert found["unknown"] == ["VEH-404"]
    assert [each["vehicleId"] for each in found["items"]] == ["VEH-3", "VEH-1", "VEH-2"]
    for each in found["items"]:
        assert each == body(client.get(f"{PERFORMANCE}/{each['vehicleId']}", params={"end": said(TOMORROW)}))
    assert [each["totalEnergyConsumedAc"] for each in found["items"]] == [None, 100, 200]
    assert [each["totalEnergyDeliveredDc"] for each in found["items"]] == [150, 50, 100]


async def test_500_vehicles_at_once_and_no_more(ask: Ask, write: Any) -> None:
    longest = [f"{number:064}" for number in range(500)]
    await write(vehicle=[vehicle(each) for each in longest])
    client = ask()
    found = body(client.get(PERFORMANCE, params={"vehicleId": [*longest, longest[0]], "end": said(TOMORROW)}))
    assert [each["vehicleId"] for each in found["items"]] == longest
    assert {each["dataPoints"] for each in found["items"]} == {1}
    for wrong in ([*longest, "VEH-1"], [], ["a b"]):
        refused = problem(client.get(PERFORMANCE, params={"vehicleId": wrong}), 422)
        assert refused["errors"][0]["field"].split(".")[0] == "vehicleId"
    assert "500" in problem(client.get(PERFORMANCE, params={"vehicleId": [*longest, "VEH-1"]}), 422)["detail"]


async def test_before_the_first_evaluation_the_summary_has_zeros_and_is_stale(ask: Ask) -> None:
    found = body(ask().get("/v1/fleet/summary"))
    assert {each["vehicles"] for each in found.pop("distribution")} == {0}
    assert found == {
        "timeWindowStart": None, "timeWindowEnd": None, "vehicles": 0, "totalEnergyConsumedAc": 0,
        "totalEnergyDeliveredDc": 0, "efficiencyRatio": None, "statuses": NO_VEHICLES, "openFaults": 0, "aging": 0,
        "live": {
            "vehicles": 0, "vehiclesReporting": 0, "meters": 0, "metersReporting": 0, "recordsConsumed": 0,
            "readingsPerSecond": None, "lagRecords": 0, "newestReading": None, "freshnessSeconds": None,
            "writtenAt": None,
        },
        "evaluatedAt": None, "stale": True,
    }  # fmt: skip


async def test_the_summary_adds_up_the_last_evaluation(ask: Ask, database: Database) -> None:
    end = datetime.now(UTC).replace(second=0, microsecond=0)
    judged = {"healthy": (92.0, 50.0), "degraded": (86.5, 100.0), "faulty": (42.0, 10.0), "implausible": (112.0, 5.0)}
    for status, (ratio, kwh) in judged.items():
        sums = {"ac_kwh": kwh, "dc_kwh": kwh * ratio / 100 + 1, "dc_kwh_assigned": kwh * ratio / 100}
        await evaluate(database, f"VEH-{status}", end, status=status, ratio=ratio, **sums)
    await evaluate(database, "VEH-little", end, status="insufficient_data", ratio=92.0, ac_kwh=0.5,
                   dc_kwh=0.46, dc_kwh_assigned=0.46)  # fmt: skip
    await unassigned(database, "VEH-alone", end)
    await open_fault(database, "VEH-faulty", end)
    await heading(database, "VEH-degraded", "aging", 12.5)

    found = body(ask().get("/v1/fleet/summary"))

    assert (found["timeWindowStart"], found["timeWindowEnd"]) == (said(end - timedelta(hours=24)), said(end))
    assert (found["evaluatedAt"], found["stale"]) == (said(end), False)
    assert (found["vehicles"], found["openFaults"], found["aging"]) == (6, 1, 1)
    assert found["statuses"] == {
        "healthy": 1, "degraded": 1, "faulty": 1, "insufficientData": 1, "unassigned": 1, "implausible": 1,
    }  # fmt: skip
    of_the_assigned = 46 + 86.5 + 4.2 + 5.6 + 0.46
    assert found["totalEnergyConsumedAc"] == pytest.approx(165.5)
    assert found["totalEnergyDeliveredDc"] == pytest.approx(of_the_assigned + 4 + 5)
    assert found["efficiencyRatio"] == round(of_the_assigned / 165.5 * 100, 2)
    steps = {(each["fromPercent"], each["toPercent"]): each["vehicles"] for each in found["distribution"]}
    assert list(steps) == [(0, 50), *((low, low + 2) for low in range(50, 100, 2)), (100, None)]
    counted = {step: vehicles for step, vehicles in steps.items() if vehicles}
    assert counted == {(0, 50): 1, (86, 88): 1, (92, 94): 1, (100, None): 1}, "of those that may be judged"


async def test_an_evaluation_of_four_minutes_ago_is_stale(ask: Ask, database: Database) -> None:
    end = datetime.now(UTC) - timedelta(minutes=4)
    await evaluate(database, "VEH-1", end)
    found = body(ask().get("/v1/fleet/summary"))
    assert (found["stale"], found["timeWindowEnd"], found["vehicles"]) == (True, said(end), 1)


async def test_the_summary_says_what_arrives(ask: Ask, write: Any, database: Database) -> None:
    now = datetime.now(UTC)
    newest = now - timedelta(minutes=1)
    await write(
        meter=[meter("METER-1", newest), meter("METER-2", now - timedelta(minutes=6)), b"?"],
        vehicle=[vehicle("VEH-1", now - timedelta(minutes=2)), vehicle("VEH-1", now - timedelta(minutes=2))],
    )
    await database.execute(
        "UPDATE kafka_offsets SET end_offset = CASE topic WHEN 'meter-readings' THEN next_offset + 7 END"
    )
    client = ask()

    live = body(client.get("/v1/fleet/summary"))["live"]

    assert 60 <= live.pop("freshnessSeconds") < 120
    assert datetime.fromisoformat(live.pop("newestReading")) == newest
    assert timedelta(0) <= datetime.now(UTC) - datetime.fromisoformat(live.pop("writtenAt")) < timedelta(minutes=1)
    assert live == {
        "vehicles": 1, "vehiclesReporting": 1, "meters": 2, "metersReporting": 1, "recordsConsumed": 5,
        "readingsPerSecond": None, "lagRecords": 7,
    }  # fmt: skip


async def test_the_summary_of_any_window_is_what_its_vehicles_say(ask: Ask, write: Any, database: Database) -> None:
    await two_vehicles_measured_and_one_not(write, database)
    await assign(database, "VEH-silent", "METER-silent")
    client = ask(JUDGE_FROM_COVERAGE="0")

    found = body(client.get("/v1/fleet/summary", params={"end": said(TOMORROW)}))

    each = [body(client.get(f"{PERFORMANCE}/VEH-{name}", params={"end": said(TOMORROW)})) for name in (1, 2, 3)]
    assert (found["timeWindowStart"], found["timeWindowEnd"], found["stale"]) == (said(NOON), said(TOMORROW), False)
    assert found["vehicles"] == 4
    assert found["totalEnergyConsumedAc"] == sum(one["totalEnergyConsumedAc"] or 0 for one in each) == 300
    assert found["totalEnergyDeliveredDc"] == sum(one["totalEnergyDeliveredDc"] for one in each) == 300
    assert found["efficiencyRatio"] == 50, "of assigned time on both sides"
    assert found["statuses"] == NO_VEHICLES | {"faulty": 2, "insufficientData": 1, "unassigned": 1}
    assert [one["vehicles"] for one in found["distribution"]] == [0, 2, *[0] * 25]
    assert body(client.get("/v1/fleet/summary"))["vehicles"] == 0, "nothing of it is kept"


async def ranked_fleet(database: Database) -> None:
    end = datetime.now(UTC)
    for number, (ratio, kwh, temperature) in enumerate([(92.0, 30.0, 20.0), (80.0, 50.0, 40.0), (80.0, 40.0, 30.0)]):
        await evaluate(
            database, f"VEH-{number}", end, ratio=ratio, ac_kwh=kwh, dc_kwh=kwh * 2, average_battery_temp=temperature,
            status="faulty" if ratio < 85 else "healthy",
        )  # fmt: skip
    for name in ("VEH-8", "VEH-9"):
        await unassigned(database, name, end)


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
    ask: Ask, database: Database, sort: str, rising: str, falling: str
) -> None:
    await ranked_fleet(database)
    client = ask()
    for order, expected in {"asc": rising, "desc": falling}.items():
        found = pages(client, "/v1/fleet/ranking", sort=sort, order=order, limit=2)
        assert [len(page) for page in found] == [2, 2, 1]
        assert "".join(each["vehicleId"][-1] for page in found for each in page) == expected
        whole = body(client.get("/v1/fleet/ranking", params={"sort": sort, "order": order}))
        assert "".join(each["vehicleId"][-1] for each in whole["items"]) == expected
        assert (whole["total"], whole["next"]) == (5, None)


async def test_a_ranked_vehicle_is_shown_with_its_newest_reading_fault_and_trend(
    ask: Ask, write: Any, database: Database
) -> None:
    await ranked_fleet(database)
    await write(vehicle=[vehicle("VEH-0", minute(3), soc=81)])
    await open_fault(database, "VEH-0", NOON)
    await heading(database, "VEH-0", "steady", None)

    first, second = body(ask().get("/v1/fleet/ranking", params={"sort": "vehicleId", "limit": 2}))["items"]

    assert first == {
        "vehicleId": "VEH-0", "efficiencyRatio": 92, "status": "healthy", "reason": "92 % is at or above 90 %",
        "totalEnergyConsumedAc": 30, "totalEnergyDeliveredDc": 60, "averageBatteryTemp": 20,
        "coverage": {"ac": 1, "dc": 1}, "soc": 81, "recordedAt": said(minute(3)), "faultOpen": True, "trend": "steady",
    }  # fmt: skip
    assert (second["soc"], second["recordedAt"], second["faultOpen"], second["trend"]) == (None, None, False, None)


async def test_a_ranking_can_be_narrowed_and_says_how_many_match(ask: Ask, database: Database) -> None:
    await ranked_fleet(database)
    client = ask()
    for narrowed, ids in (
        ({"status": "faulty"}, ["VEH-1", "VEH-2"]),
        ({"search": "eh-2"}, ["VEH-2"]),
        ({"search": "%"}, []),
        ({"status": "healthy", "search": "2"}, []),
    ):
        found = body(client.get("/v1/fleet/ranking", params={"sort": "vehicleId", **narrowed}))
        assert ([each["vehicleId"] for each in found["items"]], found["total"]) == (ids, len(ids)), narrowed
        assert found["total"] == body(client.get("/v1/fleet/ranking", params={"limit": 1, **narrowed}))["total"]


async def test_a_cursor_is_good_for_its_own_question_only(ask: Ask, database: Database) -> None:
    await ranked_fleet(database)
    client = ask()
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


async def test_faults_are_listed_newest_first(ask: Ask, database: Database) -> None:
    closing = {"closed_at": minute(90), "closed_ratio": 91.0, "closed_ac_kwh": 20.0, "closed_dc_kwh": 18.2}
    await open_fault(database, "VEH-1", minute(0), **closing)
    await open_fault(database, "VEH-2", minute(10))
    await open_fault(database, "VEH-1", minute(120))
    client = ask()

    newest, _, oldest = everything = body(client.get("/v1/faults"))["items"]

    assert newest == {
        "faultId": 3, "vehicleId": "VEH-1", "meterIds": ["METER-1", "METER-2"], "state": "open",
        "openedAt": said(minute(120)), "openedRatio": 71, "openedEnergyAc": 10, "openedEnergyDc": 7.1,
        "lowestRatio": 70, "closedAt": None, "closedRatio": None,
    }  # fmt: skip
    assert oldest == newest | {
        "faultId": 1, "state": "closed", "openedAt": said(minute(0)), "closedAt": said(minute(90)), "closedRatio": 91,
    }  # fmt: skip
    for narrowed, ids in (({"state": "open"}, [3, 2]), ({"state": "closed"}, [1]), ({"vehicleId": "VEH-1"}, [3, 1])):
        assert [each["faultId"] for each in body(client.get("/v1/faults", params=narrowed))["items"]] == ids
    assert pages(client, "/v1/faults", limit=2) == [everything[:2], everything[2:]]


async def test_a_vehicle_that_loses_a_tenth_of_a_per_cent_a_day_ages(ask: Ask, write: Any, database: Database) -> None:
    await assign(database, "VEH-1", "METER-1")
    today = NOON.replace(hour=0)
    noons = [today - timedelta(days=back, hours=-12) for back in range(30, 0, -1)]
    dc = [92 - number / 10 + (number % 2) / 50 for number in range(30)]
    await write(
        meter=[meter("METER-1", noon, 100) for noon in noons],
        vehicle=[vehicle("VEH-1", noon, kwh) for noon, kwh in zip(noons, dc, strict=True)],
    )
    client = ask(JUDGE_FROM_COVERAGE="0")

    found = body(client.get("/v1/analytics/trend/VEH-1", params={"end": said(NOON)}))

    assert [each["day"] for each in found["days"]] == [noon.date().isoformat() for noon in noons]
    assert [each["efficiencyRatio"] for each in found["days"]] == [round(ratio, 2) for ratio in dc]
    assert {each["coverage"] for each in found["days"]} == {round(1 / 1440, 4)}
    assert found["slopeLow"] < found["slopePerDay"] < found["slopeHigh"] < 0
    assert found["slopePerDay"] == pytest.approx(-0.1, abs=0.001)
    assert found["level"] == pytest.approx(89.1, abs=0.05)
    assert found["daysUntilFault"] == pytest.approx(41, abs=1)
    assert (found["vehicleId"], found["status"]) == ("VEH-1", "aging")
    problem(client.get("/v1/analytics/trend/VEH-404"), 404)

    strict = body(ask().get("/v1/analytics/trend/VEH-1", params={"end": said(NOON)}))
    assert (strict["status"], strict["slopePerDay"]) == ("insufficient_data", None)
    assert strict["days"] == found["days"], "they are shown, and none can be judged"


async def test_what_ages_is_listed_soonest_fault_first(ask: Ask, database: Database) -> None:
    for name, status, days in (("a", "aging", 30.0), ("b", "aging", 2.5), ("c", "steady", 1.0), ("d", "aging", 90.0)):
        await heading(database, f"VEH-{name}", status, days)
    client = ask()
    first, *others = body(client.get("/v1/fleet/aging"))["items"]
    assert [each["vehicleId"] for each in others] == ["VEH-a", "VEH-d"]
    assert first == {
        "vehicleId": "VEH-b", "status": "aging", "slopePerDay": -0.1, "slopeLow": -0.2, "slopeHigh": -0.05, "level": 88,
        "daysUntilFault": 2.5, "lastDay": NOON.date().isoformat(), "computedAt": said(NOON),
    }  # fmt: skip
    assert body(client.get("/v1/fleet/aging", params={"limit": 1}))["items"] == [first]


async def test_without_the_database_every_route_says_so(ask: Ask) -> None:
    client = ask(DATABASE_READ_URL=f"postgresql://reader@127.0.0.1:{free_port()}/energy")
    for path in (
        f"{PERFORMANCE}?vehicleId=VEH-1", "/v1/analytics/trend/VEH-1", "/v1/fleet/summary", "/v1/fleet/ranking",
        "/v1/fleet/aging", "/v1/faults", "/v1/vehicles/VEH-1/history", "/v1/meters/METER-1/history",
    ):  # fmt: skip
        answer: httpx.Response = client.get(path)
        problem(answer, 503)
        assert int(answer.headers["retry-after"]) > 0


async def open_fault(database: Database, vehicle_id: str, at: datetime, **closed: Any) -> None:
    await insert(
        database, "efficiency_faults", vehicle_id=vehicle_id, meter_ids=["METER-1", "METER-2"], opened_at=at,
        opened_ratio=71.0, opened_ac_kwh=10.0, opened_dc_kwh=7.1, lowest_ratio=70.0, **closed,
    )  # fmt: skip


async def heading(database: Database, vehicle_id: str, status: str, days_until_fault: float | None) -> None:
    await insert(
        database, "vehicle_trends", vehicle_id=vehicle_id, computed_at=NOON, last_day=NOON.date(), days=30, slope=-0.1,
        slope_low=-0.2, slope_high=-0.05, level=88.0, status=status, days_until_fault=days_until_fault,
    )  # fmt: skip
