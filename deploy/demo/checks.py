"""The checks of the smoke test: the API's answers against the readings that were sent, and the ledger."""

import asyncio
import json
import shutil
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from math import isclose
from typing import Any, Final

import asyncpg
import httpx

from deploy.demo.fleet import FLEET, VISITOR_VEHICLE, faulty_vehicles, one_faulty_vehicle
from deploy.demo.hints import commands
from deploy.simulator.fleet import vehicle_id
from deploy.simulator.totals import expected_totals
from schemas.config.settings import KafkaSettings
from sql.queries import queries

POSTED_RATIO: Final = 71.08  # 32.15 of 45.23 kWh
DAY: Final = timedelta(days=1)


class CheckFailedError(Exception):
    """An answer of the system is not the expected one."""


def check_history(api: httpx.Client, end: datetime, report: Callable[[str], None]) -> None:
    """Compares 24 hours of some vehicles, one of them with a faulty charger, with the totals that the simulator computes."""
    for number in (1, 42, 300, one_faulty_vehicle()):
        answer = check_day(api, number, end)
        report(
            f"{vehicle_id(number)}: {answer['totalEnergyConsumedAc']:.3f} kWh in, "
            f"{answer['totalEnergyDeliveredDc']:.3f} kWh out, {answer['efficiencyRatio']} %, "
            f"{answer['averageBatteryTemp']:.1f} C, {answer['dataPoints']} readings, "
            f"{answer['status']}: exactly the readings that were sent"
        )
    if answer["status"] != "faulty":
        raise CheckFailedError(f"the status of a faulty charger is not faulty: {answer}")


def check_day(api: httpx.Client, number: int, end: datetime) -> dict[str, Any]:
    """Compares 24 hours of a vehicle up to `end` with the simulator's totals. Returns the answer."""
    response = api.get(f"/v1/analytics/performance/{vehicle_id(number)}", params={"end": end.isoformat()})
    answer: dict[str, Any] = response.json()
    expected = expected_totals(number, end - DAY, end, FLEET)
    _equal(answer, "totalEnergyConsumedAc", expected.ac_kwh)
    _equal(answer, "totalEnergyDeliveredDc", expected.dc_kwh)
    _equal(answer, "averageBatteryTemp", expected.average_battery_temp)
    _equal(answer, "dataPoints", expected.points)
    return answer


def check_faults(api: httpx.Client, report: Callable[[str], None]) -> None:
    """Checks that the faulty chargers with a day of history, and no others, have an open fault."""
    found = {
        each["vehicleId"] for each in api.get("/v1/faults", params={"state": "open", "limit": 1000}).json()["items"]
    }
    expected = {vehicle_id(number) for number in faulty_vehicles()}
    if found != expected:
        raise CheckFailedError(f"open faults: expected {sorted(expected)}, found {sorted(found)}")
    report(f"open faults: {', '.join(sorted(found))}: the faulty chargers, and no others")


def check_posting(api: str, report: Callable[[str], None]) -> None:
    """Runs the commands that the demo prints, exactly as printed."""
    if shutil.which("curl") is None:
        raise CheckFailedError("the printed commands need curl, which is not installed")
    meter, vehicle, performance = commands(api, datetime.now(UTC))
    for command in (meter, vehicle):
        if not _run(command).get("success"):
            raise CheckFailedError(f"this command failed: {command}")
    deadline = time.monotonic() + 10
    while (answer := _run(performance)).get("efficiencyRatio") != POSTED_RATIO:
        if time.monotonic() > deadline:
            raise CheckFailedError(f"posted readings of {VISITOR_VEHICLE} do not result in {POSTED_RATIO} %: {answer}")
        time.sleep(0.1)
    report(f"{VISITOR_VEHICLE}, posted over HTTP: {answer['efficiencyRatio']} %, {answer['status']}")


def check_ledger(database_url: str, report: Callable[[str], None]) -> None:
    """Checks that no record was lost: consumed = written + duplicates + dead letters, and that many rows are stored."""
    rows = asyncio.run(_ledger(database_url))
    for row in rows:
        report(
            f"{row['topic']}: {row['consumed']:,} consumed = {row['written']:,} written + {row['duplicates']:,} duplicates "
            f"+ {row['dead_lettered']:,} dead letters; {row['rows_stored']:,} rows stored"
        )
    if not rows or not all(row["adds_up"] for row in rows):
        raise CheckFailedError("the ledger does not add up")


async def _ledger(database_url: str) -> list[Any]:
    topics = KafkaSettings()
    connection = await asyncpg.connect(database_url)
    try:
        found = queries.ledger(
            connection,
            meter_topics=topics.meter_topics,
            vehicle_topics=topics.vehicle_topics,
            assignment_topics=topics.assignment_topics,
            register_topics=topics.register_topics,
        )
        return [row async for row in found]
    finally:
        await connection.close()


def _equal(answer: dict[str, Any], name: str, expected: float | None) -> None:
    found = answer.get(name)
    if found is None or expected is None or not isclose(found, expected, rel_tol=1e-9):
        raise CheckFailedError(f"{name} of {answer.get('vehicleId')} should be {expected}, the answer is {answer}")


def _run(command: str) -> dict[str, Any]:
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)  # noqa: S602 - the command is a shell command line
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
