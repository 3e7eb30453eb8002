"""The performance of many vehicles in one request, and the fleet summary."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from deploy.stack.ports import free_port
from tests.support.database import Database
from tests.support.database_rows import (
    insert_assignment,
    insert_evaluation,
    insert_fault,
    insert_trend,
    insert_unassigned_evaluation,
)
from tests.support.records import meter, minute, vehicle
from tests.support.responses import StartApi, body, problem

pytestmark = pytest.mark.anyio
NOON = minute(0)
TOMORROW = NOON + timedelta(hours=24)
PERFORMANCE = "/v1/analytics/performance"
NO_VEHICLES = {
    "healthy": 0, "degraded": 0, "faulty": 0, "insufficientData": 0, "unassigned": 0, "implausible": 0,
}  # fmt: skip


def iso(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")


async def two_vehicles_with_a_meter_and_one_without(write: Any, database: Database) -> None:
    for number in (1, 2):
        await insert_assignment(database, f"VEH-{number}", f"METER-{number}")
    await write(
        meter=[meter(f"METER-{number}", minute(each), number) for number in (1, 2, 3) for each in range(100)],
        vehicle=[vehicle(f"VEH-{number}", minute(each), number / 2) for number in (1, 2, 3) for each in range(100)],
    )


async def test_vehicles_are_returned_in_the_requested_order_and_as_each_alone(
    start_api: StartApi, write: Any, database: Database
) -> None:
    await two_vehicles_with_a_meter_and_one_without(write, database)
    client = start_api()
    asked = ["VEH-3", "VEH-404", "VEH-1", "VEH-2", "VEH-1"]

    found = body(client.get(PERFORMANCE, params={"vehicleId": asked, "end": iso(TOMORROW)}))

    assert found["unknown"] == ["VEH-404"]
    assert [each["vehicleId"] for each in found["items"]] == ["VEH-3", "VEH-1", "VEH-2"]
    for each in found["items"]:
        assert each == body(client.get(f"{PERFORMANCE}/{each['vehicleId']}", params={"end": iso(TOMORROW)}))
    assert [each["totalEnergyConsumedAc"] for each in found["items"]] == [None, 100, 200]
    assert [each["totalEnergyDeliveredDc"] for each in found["items"]] == [150, 50, 100]


async def test_up_to_500_vehicles_can_be_requested_at_once(start_api: StartApi, write: Any) -> None:
    longest = [f"{number:064}" for number in range(500)]
    await write(vehicle=[vehicle(each) for each in longest])
    client = start_api()
    found = body(client.get(PERFORMANCE, params={"vehicleId": [*longest, longest[0]], "end": iso(TOMORROW)}))
    assert [each["vehicleId"] for each in found["items"]] == longest
    assert {each["dataPoints"] for each in found["items"]} == {1}
    for wrong in ([*longest, "VEH-1"], [], ["a b"]):
        refused = problem(client.get(PERFORMANCE, params={"vehicleId": wrong}), 422)
        assert refused["errors"][0]["field"].split(".")[0] == "vehicleId"
    assert "500" in problem(client.get(PERFORMANCE, params={"vehicleId": [*longest, "VEH-1"]}), 422)["detail"]


async def test_before_the_first_evaluation_the_summary_has_zeros_and_is_stale(start_api: StartApi) -> None:
    found = body(start_api().get("/v1/fleet/summary"))
    assert {each["vehicles"] for each in found.pop("distribution")} == {0}
    assert found == {
        "timeWindowStart": None, "timeWindowEnd": None, "vehicles": 0, "totalEnergyConsumedAc": 0,
        "totalEnergyDeliveredDc": 0, "efficiencyRatio": None, "efficiencyCoverage": None,
        "vehiclesJudged": 0, "statuses": NO_VEHICLES, "openFaults": 0, "aging": 0,
        "live": {
            "vehicles": 0, "vehiclesReporting": 0, "meters": 0, "metersReporting": 0, "recordsConsumed": 0,
            "readingsPerSecond": None, "lagRecords": 0, "newestReading": None, "freshnessSeconds": None,
            "writtenAt": None,
        },
        "evaluatedAt": None, "stale": True,
    }  # fmt: skip


async def test_the_summary_adds_up_the_last_evaluation(start_api: StartApi, database: Database) -> None:
    end = datetime.now(UTC).replace(second=0, microsecond=0)
    judged = {"healthy": (92.0, 50.0), "degraded": (86.5, 100.0), "faulty": (42.0, 10.0), "implausible": (112.0, 5.0)}
    for status, (ratio, kwh) in judged.items():
        sums = {"ac_kwh": kwh, "dc_kwh": kwh * ratio / 100 + 1, "dc_kwh_assigned": kwh * ratio / 100}
        sums |= {"ac_kwh_compared": kwh - 1, "dc_kwh_compared": (kwh - 1) * ratio / 100}
        await insert_evaluation(database, f"VEH-{status}", end, status=status, ratio=ratio, **sums)
    await insert_evaluation(database, "VEH-little", end, status="insufficient_data", ratio=92.0, ac_kwh=0.5,
                   dc_kwh=0.46, dc_kwh_assigned=0.46)  # fmt: skip
    await insert_unassigned_evaluation(database, "VEH-alone", end)
    await insert_fault(database, "VEH-faulty", end)
    await insert_trend(database, "VEH-degraded", "aging", 12.5)

    found = body(start_api().get("/v1/fleet/summary"))

    assert (found["timeWindowStart"], found["timeWindowEnd"]) == (iso(end - timedelta(hours=24)), iso(end))
    assert (found["evaluatedAt"], found["stale"]) == (iso(end), False)
    assert (found["vehicles"], found["openFaults"], found["aging"]) == (6, 1, 1)
    assert found["statuses"] == {
        "healthy": 1, "degraded": 1, "faulty": 1, "insufficientData": 1, "unassigned": 1, "implausible": 1,
    }  # fmt: skip
    of_the_assigned = 46 + 86.5 + 4.2 + 5.6 + 0.46
    assert found["totalEnergyConsumedAc"] == pytest.approx(165.5)
    assert found["totalEnergyDeliveredDc"] == pytest.approx(of_the_assigned + 4 + 5)
    assert found["efficiencyRatio"] == round((49 * 0.92 + 99 * 0.865 + 9 * 0.42) / 157 * 100, 2), "of the judged"
    assert (found["efficiencyCoverage"], found["vehiclesJudged"]) == (round(157 / 165.5, 4), 3)
    steps = {(each["fromPercent"], each["toPercent"]): each["vehicles"] for each in found["distribution"]}
    assert list(steps) == [(0, 50), *((low, low + 2) for low in range(50, 100, 2)), (100, None)]
    counted = {step: vehicles for step, vehicles in steps.items() if vehicles}
    assert counted == {(0, 50): 1, (86, 88): 1, (92, 94): 1, (100, None): 1}, "of those that may be judged"


async def test_vehicles_without_enough_data_do_not_change_the_efficiency_of_the_fleet(
    start_api: StartApi, database: Database
) -> None:
    end = datetime.now(UTC).replace(second=0, microsecond=0)
    await insert_evaluation(database, "VEH-1", end, ratio=95.0, dc_kwh=95.0, dc_kwh_assigned=95.0)
    await insert_evaluation(
        database, "VEH-2", end, status="insufficient_data", ratio=None, dc_kwh=0.0, dc_kwh_assigned=0.0
    )
    found = body(start_api().get("/v1/fleet/summary"))
    assert (found["efficiencyRatio"], found["efficiencyCoverage"], found["vehiclesJudged"]) == (95, 0.5, 1)
    assert found["totalEnergyConsumedAc"] == 200


@pytest.mark.parametrize("minutes", [-4, 4, -1440, -800 * 1440])
async def test_an_evaluation_of_another_time_is_stale(start_api: StartApi, database: Database, minutes: int) -> None:
    end = datetime.now(UTC) - timedelta(minutes=minutes)
    await insert_evaluation(database, "VEH-1", end)
    found = body(start_api().get("/v1/fleet/summary"))
    assert (found["stale"], found["timeWindowEnd"], found["vehicles"]) == (True, iso(end), 1)


async def test_the_summary_has_live_figures(start_api: StartApi, write: Any, database: Database) -> None:
    now = datetime.now(UTC)
    newest = now - timedelta(minutes=1)
    await write(
        meter=[meter("METER-1", newest), meter("METER-2", now - timedelta(minutes=6)), b"?"],
        vehicle=[vehicle("VEH-1", now - timedelta(minutes=2)), vehicle("VEH-1", now - timedelta(minutes=2))],
    )
    await database.execute(
        "UPDATE kafka_offsets SET end_offset = CASE topic WHEN 'meter-readings' THEN next_offset + 7 END"
    )
    client = start_api()

    live = body(client.get("/v1/fleet/summary"))["live"]

    assert 60 <= live.pop("freshnessSeconds") < 120
    assert datetime.fromisoformat(live.pop("newestReading")) == newest
    assert timedelta(0) <= datetime.now(UTC) - datetime.fromisoformat(live.pop("writtenAt")) < timedelta(minutes=1)
    assert live == {
        "vehicles": 1, "vehiclesReporting": 1, "meters": 2, "metersReporting": 1, "recordsConsumed": 5,
        "readingsPerSecond": None, "lagRecords": 7,
    }  # fmt: skip


async def test_the_summary_of_any_window_is_the_sum_of_its_vehicles(
    start_api: StartApi, write: Any, database: Database
) -> None:
    await two_vehicles_with_a_meter_and_one_without(write, database)
    await insert_assignment(database, "VEH-silent", "METER-silent")
    client = start_api(JUDGE_FROM_COVERAGE="0")

    found = body(client.get("/v1/fleet/summary", params={"end": iso(TOMORROW)}))

    each = [body(client.get(f"{PERFORMANCE}/VEH-{name}", params={"end": iso(TOMORROW)})) for name in (1, 2, 3)]
    assert (found["timeWindowStart"], found["timeWindowEnd"], found["stale"]) == (iso(NOON), iso(TOMORROW), False)
    assert found["vehicles"] == 4
    assert found["totalEnergyConsumedAc"] == sum(one["totalEnergyConsumedAc"] or 0 for one in each) == 300
    assert found["totalEnergyDeliveredDc"] == sum(one["totalEnergyDeliveredDc"] for one in each) == 300
    assert found["efficiencyRatio"] == 50, "of assigned time on both sides"
    assert found["statuses"] == NO_VEHICLES | {"faulty": 2, "insufficientData": 1, "unassigned": 1}
    assert [one["vehicles"] for one in found["distribution"]] == [0, 2, *[0] * 25]
    assert body(client.get("/v1/fleet/summary"))["vehicles"] == 0, "nothing of it is kept"


async def test_without_the_database_every_route_responds_with_503(start_api: StartApi) -> None:
    client = start_api(DATABASE_READ_URL=f"postgresql://reader@127.0.0.1:{free_port()}/energy")
    for path in (
        f"{PERFORMANCE}?vehicleId=VEH-1", "/v1/analytics/trend/VEH-1", "/v1/fleet/summary", "/v1/fleet/ranking",
        "/v1/fleet/aging", "/v1/faults", "/v1/vehicles/VEH-1/history", "/v1/meters/METER-1/history",
    ):  # fmt: skip
        answer: httpx.Response = client.get(path)
        problem(answer, 503)
        assert int(answer.headers["retry-after"]) > 0
