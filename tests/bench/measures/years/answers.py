"""Requests to the read service for any time of the loaded days."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

import httpx
import msgspec

from deploy.simulator.fleet import vehicle_id
from tests.bench.instruments.latency import measure_latency, require
from tests.bench.instruments.results import Result
from tests.bench.setup.harness import Harness
from tests.bench.setup.stored_day import DAY, MINUTES
from tests.bench.setup.time_lapse import Days, maintenance_session
from tests.support.database import Database

YEAR: Final = timedelta(days=365)
MIN_REQUESTS: Final = 200  # of fewer, p99 would be that of the first, which opens the session and plans
MIN_FILES: Final = 60
YEAR_VEHICLES: Final = 20  # that get a year of folded days
# The folded days of some vehicles and their meters again, so many days earlier.
COPY_DAYS: Final = (
    """
INSERT INTO vehicle_days
SELECT day - $1::integer, readings, vehicle_id,
    ROW((recorded).first_at - $1 * interval '24 hours', (recorded).minutes, (recorded).deviations)::instant_series, ingested,
    kwh_delivered_dc, soc, battery_temp, hourly_readings, hourly_kwh_delivered_dc, hourly_battery_temp_sum,
    hourly_battery_temp_max, hourly_soc_min, hourly_soc_max
FROM vehicle_days WHERE vehicle_id = ANY($2::text[]) AND day >= $3::date AND day - $1 >= $4::date""",
    """
INSERT INTO meter_days
SELECT day - $1::integer, readings, meter_id,
    ROW((recorded).first_at - $1 * interval '24 hours', (recorded).minutes, (recorded).deviations)::instant_series, ingested,
    kwh_consumed_ac, voltage, derived, hourly_readings, hourly_kwh_consumed_ac
FROM meter_days WHERE meter_id = ANY($2::text[]) AND day >= $3::date AND day - $1 >= $4::date""",
)
DELETE_COPIES: Final = ("DELETE FROM vehicle_days WHERE day < $1", "DELETE FROM meter_days WHERE day < $1")
VACUUM: Final = "VACUUM (ANALYZE) meter_days, vehicle_days"


def measure_folded(harness: Harness, client: httpx.Client, days: Days, run: int) -> Iterator[Result]:
    """p99 of a vehicle's 24 hours anywhere in the days, and of its readings of a whole day."""
    requests = harness.scaled(2_000, minimum=MIN_REQUESTS)
    yield measure_latency(harness, "years_performance", run, _performance(client, days, Random(run)), requests)
    yield measure_raw_day(harness, client, "years_raw_day", days, range(days.count), run)


def measure_raw_day(
    harness: Harness, client: httpx.Client, measure: str, days: Days, numbers: range, run: int
) -> Result:
    """p99 of all readings of one vehicle and one of these days, in JSON; that of the same as CSV in the details."""
    requests = harness.scaled(1_000, minimum=MIN_REQUESTS)
    page = measure_latency(harness, measure, run, _json(client, days, numbers, Random(run)), requests)
    files = harness.scaled(1_000, minimum=MIN_FILES)
    file = measure_latency(harness, f"{measure}_csv", run, _csv(client, days, numbers, Random(-run)), files)
    details = {f"csv_{name}": value for name, value in file.details.items() if name != "requests"}
    return msgspec.structs.replace(page, details=page.details | details | {"csv_p99_ms": file.value})


def measure_year(harness: Harness, client: httpx.Client, days: Days, run: int) -> Result:
    """p99 of a year of one vehicle by day."""
    requests = harness.scaled(1_000, minimum=MIN_REQUESTS)
    return measure_latency(harness, "years_year", run, _year(client, days, Random(run)), requests)


async def copy_to_a_year(database: Database, days: Days) -> None:
    """Give some vehicles a year of folded days, which ends with the loaded ones and repeats them."""
    numbers = range(1, min(YEAR_VEHICLES, days.vehicles) + 1)
    devices = (
        [vehicle_id(number) for number in numbers],
        [vehicle_id(number).replace("VEH", "METER") for number in numbers],
    )
    async with maintenance_session(database) as connection:
        for shift in range(days.count, YEAR.days + days.count, days.count):
            for statement, ids in zip(COPY_DAYS, devices, strict=True):
                await connection.execute(statement, shift, ids, days.opens.date(), (days.closes - YEAR).date())
        await connection.execute(VACUUM)


async def delete_copies(database: Database, days: Days) -> None:
    async with maintenance_session(database) as connection:
        for statement in DELETE_COPIES:
            await connection.execute(statement, days.opens.date())
        await connection.execute(VACUUM)


def _performance(client: httpx.Client, days: Days, dice: Random) -> Callable[[], None]:
    def request() -> None:
        end = days.opens + DAY + timedelta(minutes=dice.randint(0, (days.count - 1) * MINUTES))
        vehicle = vehicle_id(dice.randint(1, days.vehicles))
        answer = _get(client, f"/v1/analytics/performance/{vehicle}", end=end.isoformat()).json()
        complete = answer["dataPoints"] == MINUTES and answer["efficiencyRatio"] is not None
        require(complete, f"{vehicle} until {end}: {answer}")

    return request


def _json(client: httpx.Client, days: Days, numbers: range, dice: Random) -> Callable[[], None]:
    def request() -> None:
        vehicle, period = _vehicle_and_day(days, numbers, dice)
        page = _get(client, f"/v1/vehicles/{vehicle}/history", limit=MINUTES, **period).json()
        complete = len(page["items"]) == MINUTES and page["next"] is None
        require(complete, f"{vehicle} has {len(page['items'])} readings from {period['from']}")

    return request


def _csv(client: httpx.Client, days: Days, numbers: range, dice: Random) -> Callable[[], None]:
    def request() -> None:
        vehicle, period = _vehicle_and_day(days, numbers, dice)
        response = client.get(f"/v1/vehicles/{vehicle}/history", params=period, headers={"Accept": "text/csv"})
        lines = response.text.count("\n")
        require(response.is_success and lines == MINUTES + 1, f"{vehicle} has {lines} lines from {period['from']}")

    return request


def _year(client: httpx.Client, days: Days, dice: Random) -> Callable[[], None]:
    period = {"from": (days.closes - YEAR).isoformat(), "to": days.closes.isoformat(), "resolution": "day"}

    def request() -> None:
        vehicle = vehicle_id(dice.randint(1, min(YEAR_VEHICLES, days.vehicles)))
        items = _get(client, f"/v1/vehicles/{vehicle}/history", limit=YEAR.days, **period).json()["items"]
        complete = len(items) == YEAR.days and all(item["readings"] == MINUTES for item in items)
        require(complete, f"the year of {vehicle} has {len(items)} days or lacks readings")

    return request


def _vehicle_and_day(days: Days, numbers: range, dice: Random) -> tuple[str, dict[str, str]]:
    opens: datetime = days.opens + dice.choice(numbers) * DAY
    return vehicle_id(dice.randint(1, days.vehicles)), {"from": opens.isoformat(), "to": (opens + DAY).isoformat()}


def _get(client: httpx.Client, path: str, **parameters: Any) -> httpx.Response:
    response = client.get(path, params=parameters)
    require(response.is_success, response.text[:300])
    return response
