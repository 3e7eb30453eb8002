"""The history of one device: readings, hours, days of 23 and 25 hours. Totals match the raw readings, rolled up or not."""

from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from tests.support.database import Database
from tests.support.database_rows import insert_assignment, roll_up
from tests.support.records import meter, minute, vehicle
from tests.support.responses import StartApi, body, pages, problem

pytestmark = pytest.mark.anyio
BERLIN, KOLKATA = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kolkata")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
VEHICLE, METER = "/v1/vehicles/VEH-1/history", "/v1/meters/METER-1/history"
Reading = tuple[datetime, float]


def iso(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)


def last_day_of(hours: int) -> date:
    """The last day in Berlin with this number of hours."""
    day = datetime.now(BERLIN).date() - DAY
    while midnight(day + DAY, BERLIN) - midnight(day, BERLIN) != hours * HOUR:
        day -= DAY
    return day


def every_ten_minutes(opens: datetime, closes: datetime, seed: int) -> list[Reading]:
    """Readings whose kWh have an exact sum in any order of addition."""
    dice = Random(seed)
    number = int((closes - opens) / timedelta(minutes=10))
    return [(opens + each * timedelta(minutes=10), dice.randint(1, 1024) / 1024) for each in range(number)]


def summed(readings: list[Reading], key: Callable[[datetime], Any]) -> dict[Any, float]:
    sums: dict[Any, float] = defaultdict(float)
    for at, kwh in readings:
        sums[key(at)] += kwh
    return dict(sums)


async def test_readings_are_ordered_by_time_and_paginated(start_api: StartApi, write: Any) -> None:
    await write(
        meter=[meter("METER-1", minute(each), each, voltage=230 + each) for each in (4, 0, 3, 1, 2)],
        vehicle=[vehicle("VEH-1", minute(each), each, soc=50 + each) for each in (4, 0, 3, 1, 2)],
    )
    client = start_api()
    stretch = {"from": iso(minute(1)), "to": iso(minute(4))}

    assert body(client.get(VEHICLE, params=stretch)) == {
        "items": [
            {"recordedAt": iso(minute(each)), "kwhDeliveredDc": each, "soc": 50 + each, "batteryTemp": 25}
            for each in (1, 2, 3)
        ],
        "next": None,
    }
    meters = [{"recordedAt": iso(minute(each)), "kwhConsumedAc": each, "voltage": 230 + each} for each in (1, 2, 3)]
    assert pages(client, METER, limit=2, **stretch) == [meters[:2], meters[2:]]
    assert body(client.get(METER)) == {"items": [], "next": None}, "of the last 24 hours, there are none"


async def test_an_hour_summarizes_its_readings(start_api: StartApi, write: Any, database: Database) -> None:
    await insert_assignment(database, "VEH-1", "METER-1", minute(0), minute(90))
    await write(
        meter=[meter("METER-1", minute(each), 2) for each in range(0, 120, 10)],
        vehicle=[vehicle("VEH-1", minute(each), 1, soc=each, batteryTemp=each) for each in range(0, 100, 10)],
    )
    client = start_api()

    first, second, third = body(
        client.get(VEHICLE, params={"from": iso(minute(5)), "to": iso(minute(150)), "resolution": "hour"})
    )["items"]

    assert first == {
        "start": iso(minute(5)), "end": iso(minute(60)), "kwhConsumedAc": 10, "kwhDeliveredDc": 5, "readings": 5,
        "efficiencyRatio": 50, "averageBatteryTemp": 30, "batteryTempMax": 50, "socMin": 10, "socMax": 50,
        "coverage": {"ac": round(5 / 55, 4), "dc": round(5 / 55, 4)},
    }  # fmt: skip
    assert (second["kwhConsumedAc"], second["kwhDeliveredDc"], second["efficiencyRatio"]) == (6, 4, 50)
    assert third == {
        "start": iso(minute(120)), "end": iso(minute(150)), "kwhConsumedAc": None, "kwhDeliveredDc": 0, "readings": 0,
        "efficiencyRatio": None, "averageBatteryTemp": None, "batteryTempMax": None, "socMin": None, "socMax": None,
        "coverage": {"ac": None, "dc": 0},
    }  # fmt: skip
    assert body(client.get(METER, params={"from": iso(minute(60)), "to": iso(minute(120)), "resolution": "hour"})) == {
        "items": [{"start": iso(minute(60)), "end": iso(minute(120)), "kwhConsumedAc": 12, "readings": 6}],
        "next": None,
    }


@pytest.mark.parametrize("hours", [23, 25])
async def test_days_last_from_midnight_to_midnight_even_when_clocks_change(
    start_api: StartApi, write: Any, database: Database, hours: int
) -> None:
    await _days_add_up(start_api, write, database, BERLIN, last_day_of(hours), [24, hours, 24])


async def test_days_in_a_time_zone_with_a_half_hour_offset_add_up(
    start_api: StartApi, write: Any, database: Database
) -> None:
    await _days_add_up(start_api, write, database, KOLKATA, datetime.now(KOLKATA).date() - 5 * DAY, [24, 24, 24])


def _check_days(
    client: httpx.Client,
    asked: dict[str, str],
    days: list[date],
    hours: list[int],
    zone: ZoneInfo,
    ac: list[Reading],
    dc: list[Reading],
    state: str,
) -> None:
    ac_sums, dc_sums = (summed(each, lambda at: at.astimezone(zone).date()) for each in (ac, dc))
    found = body(client.get(VEHICLE, params=asked))["items"]
    assert [each["start"] for each in found] == [iso(midnight(day, zone)) for day in days], state
    lengths = [datetime.fromisoformat(each["end"]) - datetime.fromisoformat(each["start"]) for each in found]
    assert lengths == [number * HOUR for number in hours], state
    assert [each["kwhConsumedAc"] for each in found] == [ac_sums[day] for day in days], state
    assert [each["kwhDeliveredDc"] for each in found] == [dc_sums[day] for day in days], state
    assert [each["efficiencyRatio"] for each in found] == [
        round(dc_sums[day] / ac_sums[day] * 100, 2) for day in days
    ], state
    counts = [sum(at.astimezone(zone).date() == day for at, _ in dc) for day in days]
    assert [each["readings"] for each in found] == counts, state
    meters = body(client.get(METER, params=asked))["items"]
    assert [each["kwhConsumedAc"] for each in meters] == [ac_sums[day] for day in days], state
    hourly = [item for page in pages(client, VEHICLE, limit=30, **asked | {"resolution": "hour"}) for item in page]
    assert sum(each["kwhDeliveredDc"] for each in hourly) == sum(dc_sums[day] for day in days), state
    assert sum(each["kwhConsumedAc"] for each in hourly) == sum(ac_sums[day] for day in days), state


async def _days_add_up(
    start_api: StartApi, write: Any, database: Database, zone: ZoneInfo, middle: date, hours: list[int]
) -> None:
    """Checks the sums before, between and after rollups, and with late readings."""
    await insert_assignment(database, "VEH-1", "METER-1")
    days = [middle - DAY, middle, middle + DAY]
    opens, closes = midnight(days[0], zone), midnight(days[-1] + DAY, zone)
    ac, dc = every_ten_minutes(opens - HOUR, closes + HOUR, 1), every_ten_minutes(opens - HOUR, closes + HOUR, 2)
    await write(
        meter=[meter("METER-1", at, kwh) for at, kwh in ac], vehicle=[vehicle("VEH-1", at, kwh) for at, kwh in dc]
    )
    client = start_api()
    asked = {"from": iso(opens), "to": iso(closes), "resolution": "day", "timezone": zone.key}

    check = partial(_check_days, client, asked, days, hours, zone)
    check(ac, dc, "nothing is rolled up")
    await roll_up(database, midnight(middle, zone) + timedelta(hours=12, minutes=34))
    check(ac, dc, "rolled up to the middle")
    await roll_up(database, closes + 2 * HOUR)
    check(ac, dc, "all is rolled up")
    late = [(at + timedelta(minutes=5), kwh) for at, kwh in ac[::17]]
    await write(
        meter=[meter("METER-1", at, kwh) for at, kwh in late], vehicle=[vehicle("VEH-1", at, kwh) for at, kwh in late]
    )
    ac, dc = ac + late, dc + late
    check(ac, dc, "late readings came")
    await roll_up(database, closes + 2 * HOUR)
    check(ac, dc, "late hours are rolled up again")


async def test_the_first_and_the_last_day_are_cut_off_and_pages_are_contiguous(start_api: StartApi, write: Any) -> None:
    await write(meter=[meter("METER-1", minute(0), 1)])
    client = start_api()
    opens, closes = minute(-3 * 1440), minute(5)
    found = pages(client, METER, resolution="day", limit=2, **{"from": iso(opens), "to": iso(closes)})
    edges = [opens, *(minute(-12 * 60) - back * DAY for back in (2, 1, 0)), closes]
    items = [item for page in found for item in page]
    assert [len(page) for page in found] == [2, 2]
    assert [each["start"] for each in items] == [iso(each) for each in edges[:-1]]
    assert [each["end"] for each in items] == [iso(each) for each in edges[1:]]
    assert [each["kwhConsumedAc"] for each in items] == [0, 0, 0, 1]


async def test_days_that_have_not_begun_are_left_out(start_api: StartApi, write: Any) -> None:
    now = datetime.now(UTC)
    await write(meter=[meter("METER-1", now, 1)])
    asked = {"from": iso(now - DAY), "to": iso(now + 10 * DAY), "resolution": "day"}
    items = body(start_api().get(METER, params=asked))["items"]
    assert len(items) == 2
    assert datetime.fromisoformat(items[-1]["end"]) > datetime.now(UTC)
    assert items[-1]["kwhConsumedAc"] == 1


async def test_unknown_devices_and_invalid_parameters(start_api: StartApi, write: Any) -> None:
    await write(meter=[meter("METER-1")], vehicle=[vehicle("VEH-1")])
    client = start_api()
    for kind in ("vehicles", "meters"):
        for resolution in ("raw", "day"):
            path = f"/v1/{kind}/DEV-404/history"
            assert "DEV-404" in problem(client.get(path, params={"resolution": resolution}), 404)["detail"]
    invalid: list[tuple[str, dict[str, Any]]] = [
        ("from", {"from": iso(minute(1)), "to": iso(minute(1))}),
        ("from", {"from": "yesterday"}),
        ("to", {"to": "2026-01-01T00:00:00"}),
        ("resolution", {"resolution": "minute"}),
        ("after", {"after": "VEH-1"}),
        ("from", {"from": "0001-01-01T00:00:00+14:00"}),
        (
            "after",
            {"after": "WyI5OTk5LTEyLTMxVDIzOjU5OjU5LTE0OjAwIl0"},
        ),  # the last second of 9999, fourteen hours behind UTC
        ("limit", {"limit": 2001}),
        *(("timezone", {"timezone": name}) for name in ("Mars/Olympus", "", "../UTC", "/etc/passwd", "Europe", "a\0b")),
    ]
    for field, parameters in invalid:
        errors = problem(client.get(VEHICLE, params=parameters), 422)["errors"]
        assert errors[0]["field"] == field, parameters
    refused = problem(client.get(VEHICLE, params={"timezone": "Mars/Olympus"}), 422)
    assert "Mars/Olympus" in refused["detail"]


async def test_time_zones_work_on_a_machine_without_a_time_zone_database(start_api: StartApi, write: Any) -> None:
    await write(vehicle=[vehicle("VEH-1")])
    client = start_api(PYTHONTZPATH="")
    day = datetime.combine(last_day_of(25), time(12), BERLIN)
    asked = {
        "from": iso(day - timedelta(hours=14)),
        "to": iso(day + DAY),
        "resolution": "day",
        "timezone": BERLIN.key,
    }
    _, whole, _ = body(client.get(VEHICLE, params=asked))["items"]
    assert datetime.fromisoformat(whole["end"]) - datetime.fromisoformat(whole["start"]) == 25 * HOUR
