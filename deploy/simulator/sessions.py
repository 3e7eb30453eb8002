"""The 992 real charging sessions, and the distribution of a session's energy over its minutes."""

import csv
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Final

SESSIONS_FILE: Final = Path(__file__).with_name("fast_charging_sessions_2022.csv")


@dataclass(frozen=True, slots=True)
class RealSession:
    """A row of the data: kWh and kW on the grid side (AC), states of charge in %, local times to the minute."""

    number: int
    plug: str
    arrival: datetime
    departure: datetime
    minutes: int
    energy_kwh: float
    max_power_kw: float
    soc_arrival: float
    soc_departure: float
    capacity_kwh: float


@cache
def real_sessions() -> tuple[RealSession, ...]:
    """All sessions in the order of the file. README.md names source and licence."""
    with SESSIONS_FILE.open(newline="", encoding="utf-8") as file:
        return tuple(_session(row) for row in csv.DictReader(file))


def _session(row: dict[str, str]) -> RealSession:
    arrival, departure = (datetime.fromisoformat(row[column]) for column in ("arrival", "departure"))
    return RealSession(
        number=int(row["session"]),
        plug=row["plug"],
        arrival=arrival,
        departure=departure,
        minutes=int((departure - arrival).total_seconds()) // 60,
        energy_kwh=float(row["energy_wh"]) / 1000,
        max_power_kw=float(row["max_power_w"]) / 1000,
        soc_arrival=float(row["soc_arrival"]),
        soc_departure=float(row["soc_departure"]),
        capacity_kwh=float(row["battery_capacity_wh"]) / 1000,
    )


def charged_share(session: RealSession, minute: int) -> float:
    """The share (0 to 1) of the session's energy that has flowed after `minute` minutes.

    Power starts at the session's peak and falls as peak x (1 - t)^(peak / mean - 1), the only curve of that form with both the
    real peak and the real energy.
    """
    mean_power_kw = session.energy_kwh * 60 / session.minutes
    remaining = max(0.0, 1 - minute / session.minutes)
    return 1 - float(remaining ** max(1.0, session.max_power_kw / mean_power_kw))
