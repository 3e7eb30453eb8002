"""The guide that the demo prints: addresses to open and commands to try."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from deploy.demo.fleet import VISITOR_METER, VISITOR_VEHICLE, aging_vehicles, one_faulty_vehicle
from deploy.demo.prometheus import Pages
from deploy.simulator.fleet import vehicle_id
from schemas.records.readings import MeterReading, VehicleReading, example


def commands(api: str, now: datetime) -> list[str]:
    """Three shell commands: post a meter reading, post a vehicle reading, get 24 hours of that vehicle."""
    meter = example(MeterReading, now) | {"meterId": VISITOR_METER}
    vehicle = example(VehicleReading, now) | {"vehicleId": VISITOR_VEHICLE}
    return [
        _post(f"{api}/v1/ingestion/meter", meter),
        _post(f"{api}/v1/ingestion/vehicle", vehicle),
        f"curl -s {api}/v1/analytics/performance/{VISITOR_VEHICLE}",
    ]


def guide(api: str, metrics: list[str], pages: Pages | None, environment: Path, now: datetime) -> str:
    tries = "\n".join(f"  {command}" for command in commands(api, now))
    prometheus = f"  {pages.graphs}        graphs\n  {pages.alerts}        alerts\n" if pages else ""
    return f"""
The fleet is live: 20,000 devices, a reading a minute each.

  {api}/        the fleet, its faults, aging chargers, and 24 hours of every vehicle
  {api}/docs        the API's documentation
  {api}/v1/analytics/performance/{vehicle_id(1)}        24 hours of a vehicle
  {api}/v1/analytics/performance/{vehicle_id(one_faulty_vehicle())}        a vehicle with a faulty charger
  {api}/#/vehicle/{vehicle_id(aging_vehicles()[-1])}        a month of a vehicle whose charger ages
  {"  ".join(metrics)}        metrics of the consumers and of maintenance
{prometheus}
To try it, run these commands, the third one a second after the second:

{tries}

To run the documented commands against the demo, in another terminal in this directory: . {_short(environment)}

Ctrl-C stops everything.
"""


def _short(file: Path) -> Path:
    here = Path.cwd()
    return file.relative_to(here) if file.is_relative_to(here) else file


def _post(url: str, body: dict[str, Any]) -> str:
    return f"curl -s -X POST {url} -H 'Content-Type: application/json' -d '{json.dumps(body)}'"
