"""The checks of the folded days: the API's answers against the simulator's truth, in sums, reading by reading, and as trends."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any, Final

import httpx
import msgspec

from deploy.demo.checks import DAY, CheckFailedError, check_day
from deploy.demo.fleet import FLEET, FOLDED_DAYS, aging_vehicles, one_faulty_vehicle
from deploy.simulator.fleet import MINUTE_MS, meter_id, vehicle, vehicle_id
from deploy.simulator.readings import Record, milliseconds, pair_at
from deploy.simulator.totals import expected_totals
from schemas.config.settings import JudgementSettings
from sql.analytics.efficiency import DIGITS
from sql.analytics.trend import WINDOW_DAYS, Day, trend

PAGE: Final = 1000  # items
TREND_SECONDS: Final = 60.0
Report = Callable[[str], None]
Items = list[dict[str, Any]]


def check_folded_days(api: httpx.Client, folded_before: datetime, report: Report) -> None:
    """Compares folded days of some vehicles and their meters with what the simulator says they have sent."""
    numbers = (1, 300, one_faulty_vehicle(), aging_vehicles()[0])
    for number in numbers:
        for back in (0, 11, FOLDED_DAYS - 1):
            check_day(api, number, folded_before - back * DAY)
    for number in numbers[-2:]:
        check_readings(api, number, folded_before - FOLDED_DAYS * DAY)
    names = ", ".join(vehicle_id(number) for number in numbers)
    report(f"{names}, {FOLDED_DAYS} days folded without Kafka: exactly what the simulator would have sent")


def check_aging(api: httpx.Client, report: Report) -> None:
    """Checks that the chargers whose efficiency falls, and no others, are listed as aging; their trends are computed shortly."""
    deadline = time.monotonic() + TREND_SECONDS
    while set(listed := _aging(api)) != (expected := _falling(listed.values())) or not listed:
        if time.monotonic() > deadline:
            raise CheckFailedError(f"aging chargers: expected {sorted(expected)}, found {sorted(listed)}")
        time.sleep(0.2)
    falling = ", ".join(f"{each} ({item['slopePerDay']:+.3f} a day)" for each, item in sorted(listed.items()))
    report(f"aging chargers: {falling}: those whose efficiency falls, and no others")


def _aging(api: httpx.Client) -> dict[str, dict[str, Any]]:
    return {item["vehicleId"]: item for item in _items(api, "/v1/fleet/aging", {})}


def _falling(listed: Iterable[dict[str, Any]]) -> set[str]:
    """The vehicles that the simulator's efficiencies make aging, on the day on which the listed ones are."""
    days = {date.fromisoformat(item["lastDay"]) for item in listed}
    return {
        vehicle_id(number) for day in days for number in aging_vehicles() if _expected_status(number, day) == "aging"
    }


@cache
def _expected_status(number: int, last_day: date) -> str:
    days = [last_day - timedelta(days=back) for back in range(WINDOW_DAYS)]
    found = [Day(day, _expected_ratio(number, day)) for day in reversed(days)]
    return trend(found, JudgementSettings().fault_below_percent).status


def _expected_ratio(number: int, day: date) -> float:
    opens = datetime(day.year, day.month, day.day, tzinfo=UTC)
    totals = expected_totals(number, opens, opens + DAY, FLEET)
    return round(totals.dc_kwh / totals.ac_kwh * 100, DIGITS)


def check_readings(api: httpx.Client, number: int, opens: datetime) -> None:
    """Compares every reading of a vehicle and its meter in the 24 hours from `opens` on with the simulator's records."""
    first = milliseconds(opens) // MINUTE_MS
    pairs = [pair_at(vehicle(FLEET, number), minute) for minute in range(first, first + DAY // timedelta(minutes=1))]
    devices = (f"meters/{meter_id(number)}", f"vehicles/{vehicle_id(number)}")
    for device, sent in zip(devices, zip(*pairs, strict=True), strict=True):
        period = {"from": opens.isoformat(), "to": (opens + DAY).isoformat()}
        found = [_comparable(item) for item in _items(api, f"/v1/{device}/history", period)]
        if found != [_comparable(_fields(record)) for record in sent]:
            raise CheckFailedError(f"the readings of {device} from {opens} on are not those of the simulator")


def _fields(record: Record) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.json.decode(record.value or b"")
    return fields


def _comparable(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a record or of an item of the API, and its instant; the device is that of the request."""
    values: dict[str, Any] = {name: value for name, value in fields.items() if isinstance(value, float | int)}
    return values | {"at": datetime.fromisoformat(fields.get("timestamp") or fields["recordedAt"])}


def _items(api: httpx.Client, path: str, parameters: dict[str, str]) -> Items:
    """The items of all pages."""
    return [item for page in _pages(api, path, parameters) for item in page]


def _pages(api: httpx.Client, path: str, parameters: dict[str, str]) -> Iterator[Items]:
    after: dict[str, str] = {}
    while True:
        answer = api.get(path, params={**parameters, **after, "limit": str(PAGE)}).raise_for_status().json()
        yield answer["items"]
        if not answer.get("next"):
            return
        after = {"after": answer["next"]}
