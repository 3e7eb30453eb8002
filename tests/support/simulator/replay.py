"""A replay of the 992 real sessions, minute by minute and moved in time as one block: real input with totals known from the file.

Each session is a vehicle of its own (`EV-<session>`), each plug a meter (`CCS1`, `CCS2`). A session of n minutes has n readings
per side, from arrival + 1 to departure: the minute that ends at arrival belongs to the previous session.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import fsum
from typing import Final

from deploy.simulator.fleet import Assignment
from deploy.simulator.readings import Record, RecordType, encode, milliseconds
from deploy.simulator.sessions import RealSession, real_sessions
from schemas.records.readings import MeterReading, VehicleReading

EFFICIENCY: Final = 0.95
_MINUTE: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Visit:
    """A session moved in time. Its readings, and no others of its plug, are in [valid_from, valid_to)."""

    session: RealSession
    vehicle_id: str
    plug: str
    valid_from: datetime
    valid_to: datetime


@dataclass(frozen=True, slots=True)
class VisitTotals:
    """Totals of a vehicle's readings: kWh on both sides, readings per side, mean battery temperature."""

    ac_kwh: float
    dc_kwh: float
    points: int
    average_battery_temp: float


@dataclass(frozen=True, slots=True)
class PlugTotals:
    """Totals of a plug's readings: kWh (AC) and the number of readings."""

    ac_kwh: float
    points: int


def visits(end: datetime, sessions: Iterable[RealSession] | None = None) -> tuple[Visit, ...]:
    """The sessions in order of arrival, moved so that the last departure is at `end` (aware, truncated to the minute)."""
    chosen = sorted(sessions or real_sessions(), key=lambda session: (session.arrival, session.number))
    last_departure = max(session.departure for session in chosen)
    return tuple(_visit(session, _whole_minute(end) - last_departure.replace(tzinfo=UTC)) for session in chosen)


def readings(visited: Iterable[Visit]) -> list[Record]:
    """All readings, ordered by the devices' clocks. Each pair of device and timestamp occurs once."""
    return sorted(
        (record for visit in visited for record in _readings_of(visit)), key=lambda record: (record.at_ms, record.key)
    )


def assignments(visited: Iterable[Visit]) -> list[Assignment]:
    """The assignments of vehicles to plugs. At any time a vehicle has at most one plug, and a plug at most one vehicle."""
    return [Assignment(visit.vehicle_id, visit.plug, visit.valid_from, visit.valid_to) for visit in visited]


def expected_vehicles(visited: Iterable[Visit]) -> dict[str, VisitTotals]:
    """Totals by vehicle id, computed from the energies in the file, not from readings."""
    return {
        visit.vehicle_id: VisitTotals(
            ac_kwh=visit.session.energy_kwh,
            dc_kwh=EFFICIENCY * visit.session.energy_kwh,
            points=visit.session.minutes,
            average_battery_temp=fsum(_temperatures(visit)) / visit.session.minutes,
        )
        for visit in visited
    }


def expected_plugs(visited: Iterable[Visit]) -> dict[str, PlugTotals]:
    """Totals by plug (meter id), computed from the energies in the file, not from readings."""
    by_plug: dict[str, list[RealSession]] = {}
    for visit in visited:
        by_plug.setdefault(visit.plug, []).append(visit.session)
    return {
        plug: PlugTotals(fsum(one.energy_kwh for one in used_by), sum(one.minutes for one in used_by))
        for plug, used_by in by_plug.items()
    }


def _visit(session: RealSession, shift: timedelta) -> Visit:
    arrival = session.arrival.replace(tzinfo=UTC) + shift
    return Visit(
        session=session,
        vehicle_id=f"EV-{session.number}",
        plug=session.plug,
        valid_from=arrival + _MINUTE,
        valid_to=arrival + (session.minutes + 1) * _MINUTE,
    )


def _whole_minute(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(second=0, microsecond=0)


def _readings_of(visit: Visit) -> Iterator[Record]:
    session, key, plug = visit.session, visit.vehicle_id.encode(), visit.plug.encode()
    ac_kwh = session.energy_kwh / session.minutes
    gained = session.soc_departure - session.soc_arrival
    for passed, temperature in enumerate(_temperatures(visit), start=1):
        timestamp = visit.valid_from + (passed - 1) * _MINUTE
        soc = round(session.soc_arrival + gained * passed / session.minutes, 1)
        meter = MeterReading(
            meter_id=visit.plug,
            timestamp=timestamp,
            kwh_consumed_ac=ac_kwh,
            voltage=round(240 - session.max_power_kw / 30, 1),
        )
        battery = VehicleReading(
            vehicle_id=visit.vehicle_id,
            timestamp=timestamp,
            kwh_delivered_dc=EFFICIENCY * ac_kwh,
            soc=soc,
            battery_temp=temperature,
        )
        yield Record(RecordType.METER, plug, encode(meter), milliseconds(timestamp))
        yield Record(RecordType.VEHICLE, key, encode(battery), milliseconds(timestamp))


def _temperatures(visit: Visit) -> list[float]:
    """Degrees Celsius by minute: rising from 22 by at most 16, in proportion to the session's peak power."""
    session = visit.session
    warming = 16 * session.max_power_kw / 175
    return [round(22 + warming * passed / session.minutes, 1) for passed in range(1, session.minutes + 1)]
