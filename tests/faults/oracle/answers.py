"""Answers of the read service, against plain sums of the log."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from math import fsum, isclose
from typing import Any, Final

import httpx

from tests.faults.oracle.energy import Energy, energy
from tests.faults.oracle.expected import Expected, Series, within
from tests.faults.oracle.verdict import Verdict

DAY: Final = timedelta(hours=24)
HOUR: Final = timedelta(hours=1)
ROUNDED: Final = 0.005001  # ratios are rounded to two digits
COVERED: Final = 0.0000501  # and coverage to four
VEHICLES_IN_A_REQUEST: Final = 100
DEVICES_ASKED: Final = 3  # of each kind, one by one
LONG_HISTORY: Final = "VEH-0"  # of which all readings are asked for, from every level and the archive
CLOCKS_APART: Final = timedelta(minutes=1)


async def compare_answers(
    verdict: Verdict,
    client: httpx.AsyncClient,
    expected: Expected,
    judged: Sequence[str],
    ends: Iterable[datetime],
    faults: Sequence[Any],
) -> None:
    """Ask for energy up to each of `ends` and up to now, for live status, history and faults.

    `judged` are the vehicles whose status is compared as well, where the window holds all of their readings.
    """
    vehicles = sorted(expected.vehicles.keys() | {each.vehicle for each in expected.assignments})
    for end in ends:
        await _compare_day(verdict, client, expected, vehicles, judged, end)
    for vehicle in judged[:DEVICES_ASKED]:
        await _compare_last_day(verdict, client, expected, vehicle)
        await _compare_history(verdict, client, expected, vehicle)
    if LONG_HISTORY in expected.vehicles:
        await _compare_readings(verdict, client, LONG_HISTORY, expected.vehicles[LONG_HISTORY])
    await _compare_live(
        verdict, client, "vehicles", expected.vehicles, ("lastKwhDeliveredDc", "soc", "lastBatteryTemp")
    )
    await _compare_live(verdict, client, "meters", expected.meters, ("lastKwhConsumedAc", "lastVoltage"))
    listed = await _all_pages(client, "/v1/faults")
    wanted = [(each["fault_id"], each["vehicle_id"], "closed" if each["closed_at"] else "open") for each in faults]
    verdict.compare("answer: faults", wanted, [(each["faultId"], each["vehicleId"], each["state"]) for each in listed])


async def _compare_day(
    verdict: Verdict,
    client: httpx.AsyncClient,
    expected: Expected,
    vehicles: Sequence[str],
    judged: Sequence[str],
    end: datetime,
) -> None:
    """The 24 hours of every vehicle before `end`, one by one and as a fleet."""
    sums = {each: energy(expected, each, end - DAY, end) for each in vehicles}
    answers = []
    for start in range(0, len(vehicles), VEHICLES_IN_A_REQUEST):
        asked = {"vehicleId": vehicles[start : start + VEHICLES_IN_A_REQUEST], "end": end.isoformat()}
        answers += (await _get(client, "/v1/analytics/performance", asked))["items"]
    verdict.compare(f"answer: vehicles up to {end}", vehicles, [each["vehicleId"] for each in answers])
    for answer in answers:
        vehicle = answer["vehicleId"]
        status = vehicle in judged and _whole(expected.vehicles.get(vehicle, []), end)
        _compare_performance(verdict, answer, sums[vehicle], status=status)
    fleet = await _get(client, "/v1/fleet/summary", {"end": end.isoformat()})
    wanted = {
        "vehicles": len(vehicles),
        "totalEnergyConsumedAc": fsum(each.ac for each in sums.values()),
        "totalEnergyDeliveredDc": fsum(each.dc for each in sums.values()),
    }
    wrong = {
        name: fleet[name]
        for name, value in wanted.items()
        if not isclose(fleet[name], value, rel_tol=1e-9, abs_tol=1e-9)
    }
    verdict.require(f"answer: the fleet up to {end} is {wrong}, expected {wanted}", holds=not wrong)


async def _compare_last_day(verdict: Verdict, client: httpx.AsyncClient, expected: Expected, vehicle: str) -> None:
    """The 24 hours of one vehicle up to now."""
    asked = datetime.now(UTC)
    answer = await _get(client, f"/v1/analytics/performance/{vehicle}", {})
    end = datetime.fromisoformat(answer["timeWindowEnd"])
    verdict.require(f"answer: {vehicle} up to now ends at {end}", holds=abs(end - asked) < CLOCKS_APART)
    _compare_performance(verdict, answer, energy(expected, vehicle, end - DAY, end), status=True)


def _compare_performance(verdict: Verdict, answer: dict[str, Any], sums: Energy, *, status: bool) -> None:
    ac_coverage, dc_coverage = sums.coverage
    wanted = {
        "totalEnergyConsumedAc": (sums.ac if sums.seconds else None, 1e-9),
        "totalEnergyDeliveredDc": (sums.dc, 1e-9),
        "efficiencyRatio": (sums.ratio, ROUNDED),
        "averageBatteryTemp": (sums.temperature, 1e-9),
        "dataPoints": (float(sums.dc_readings), 0.0),
    }
    wrong = [f"{name} {answer[name]}" for name, (value, off) in wanted.items() if not _equal(answer[name], value, off)]
    coverage = answer["coverage"]
    if not (_equal(coverage["ac"], ac_coverage, COVERED) and _equal(coverage["dc"], dc_coverage, COVERED)):
        wrong.append(f"coverage {coverage}")
    if (datetime.fromisoformat(answer["timeWindowStart"]), datetime.fromisoformat(answer["timeWindowEnd"])) != (
        sums.opens,
        sums.closes,
    ):
        wrong.append(f"window {answer['timeWindowStart']} to {answer['timeWindowEnd']}")
    if status and answer["status"] != sums.status:
        wrong.append(f"status {answer['status']}")
    verdict.require(
        f"answer: {answer['vehicleId']} has {', '.join(wrong)}; expected {sums.status}, {sums}", holds=not wrong
    )


async def _compare_history(verdict: Verdict, client: httpx.AsyncClient, expected: Expected, vehicle: str) -> None:
    """The hours and the readings of one vehicle's newest day."""
    series = expected.vehicles.get(vehicle, [])
    if not series:
        return
    closes = series[-1][0] + timedelta(seconds=1)
    span = {"from": (closes - DAY).isoformat(), "to": closes.isoformat()}
    path = f"/v1/vehicles/{vehicle}/history"
    for hour in await _all_pages(client, path, span | {"resolution": "hour"}):
        opens, ends = datetime.fromisoformat(hour["start"]), datetime.fromisoformat(hour["end"])
        sums = energy(expected, vehicle, opens, ends)
        right = (
            _equal(hour["kwhConsumedAc"], sums.ac if sums.seconds else None, 1e-9)
            and _equal(hour["kwhDeliveredDc"], sums.dc, 1e-9)
            and hour["readings"] == sums.dc_readings
        )
        verdict.require(f"answer: {vehicle} has {hour}; expected {sums}", holds=right)
    await _compare_readings(verdict, client, vehicle, within(series, closes - DAY, closes))


async def _compare_readings(verdict: Verdict, client: httpx.AsyncClient, vehicle: str, series: Series) -> None:
    """All readings from the first to the last of these."""
    span = {"from": series[0][0].isoformat(), "to": (series[-1][0] + timedelta(seconds=1)).isoformat()}
    readings = await _all_pages(client, f"/v1/vehicles/{vehicle}/history", span | {"resolution": "raw"})
    verdict.compare(
        f"answer: readings of {vehicle}",
        [(at, *values) for at, values in series],
        [_reading(each, ("kwhDeliveredDc", "soc", "batteryTemp")) for each in readings],
    )


async def _compare_live(
    verdict: Verdict, client: httpx.AsyncClient, devices: str, series: dict[str, Series], names: tuple[str, ...]
) -> None:
    """The newest reading of every device, to the digits that a sum of floats may differ in."""
    pages = await _all_pages(client, f"/v1/{devices}")
    wanted = [(device, readings[-1][0], *_digits(readings[-1][1])) for device, readings in series.items()]
    identity = "vehicleId" if devices == "vehicles" else "meterId"
    found = [(each[identity], *_reading(each, names)) for each in pages]
    verdict.compare(f"answer: live {devices}", wanted, [(*each[:2], *_digits(each[2:])) for each in found])


def _reading(item: dict[str, Any], names: Iterable[str]) -> tuple[Any, ...]:
    return datetime.fromisoformat(item["recordedAt"]), *(float(item[name]) for name in names)


def _digits(values: Iterable[float]) -> Iterator[float]:
    return (round(value, 6) for value in values)


def _whole(series: Series, end: datetime) -> bool:
    """Whether the 24 hours before `end` hold all readings of a series."""
    return len(within(series, end - DAY, end)) == len(series)


async def _all_pages(client: httpx.AsyncClient, path: str, query: dict[str, str] | None = None) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    after: dict[str, str] = {}
    while True:
        page = await _get(client, path, (query or {}) | {"limit": "1000"} | after)
        items += page["items"]
        if page["next"] is None:
            return items
        after = {"after": page["next"]}


async def _get(client: httpx.AsyncClient, path: str, query: dict[str, Any]) -> dict[str, Any]:
    answer = await client.get(path, params=query)
    answer.raise_for_status()
    body: dict[str, Any] = answer.json()
    return body


def _equal(found: float | None, wanted: float | None, tolerance: float) -> bool:
    if found is None or wanted is None:
        return found is wanted
    return isclose(found, wanted, rel_tol=1e-9, abs_tol=tolerance)
