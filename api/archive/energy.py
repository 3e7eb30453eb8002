"""Energy of vehicles and meters over periods, of which some months are only in the archive."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from api.archive.months import METERS, VEHICLES, Archive, RetiredMonth
from api.problems import invalid_parameter
from sql.queries import queries

if TYPE_CHECKING:
    from sql.archive.reader import Sums

MOST_VEHICLES: Final = 20
ENERGY: Final = {METERS: "kwh_consumed_ac", VEHICLES: "kwh_delivered_dc"}
Period = tuple[datetime, datetime]
Rows = list[Mapping[str, Any]]
Device = tuple[str, str]  # history, id


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the columns of a row of `energy_of` are summed over."""

    vehicle: Device
    window: Period
    assigned: list[tuple[Device, Period]] = field(default_factory=list)
    compared: list[tuple[Device, Period]] = field(default_factory=list)

    def periods(self) -> list[tuple[Device, Period]]:
        """All of them, each with its device."""
        both = [*self.assigned, *self.compared]
        return [(self.vehicle, self.window), *both, *((self.vehicle, period) for _, period in both)]


async def vehicle_energy_with_archive(
    archive: Archive, connection: Any, vehicle_ids: Sequence[str], periods: Sequence[Period]
) -> Rows:
    """The rows of the query `energy_of` for a vehicle and a period each, archived months included.

    Raises:
        Gone: a month of the periods is missing.
        RequestValidationError: more than MOST_VEHICLES vehicles, and some months are only in the archive.
    """
    opens, closes = [each[0] for each in periods], [each[1] for each in periods]
    arguments = {"vehicle_ids": list(vehicle_ids), "opens": opens, "closes": closes}

    async def read() -> Rows:
        return [row async for row in queries.energy_of(connection, **arguments)]

    if not periods:
        return await read()
    rows, retired = await archive.beside(connection, [METERS, VEHICLES], min(opens), max(closes), read)
    if not retired:
        return rows
    if len(set(vehicle_ids)) > MOST_VEHICLES:
        raise invalid_parameter("vehicleId", f"{MOST_VEHICLES} vehicles at most: this period is in the archive")
    parts = [_Parts((VEHICLES, vehicle), period) for vehicle, period in zip(vehicle_ids, periods, strict=True)]
    async for row in queries.assigned_parts(connection, **arguments):
        part, until = parts[row["position"]], min(row["closes"], row["compared_until"])
        meter = METERS, row["meter_id"]
        part.assigned.append((meter, (row["opens"], row["closes"])))
        if row["opens"] < until:
            part.compared.append((meter, (row["opens"], until)))
    sums = await archive.run(lambda: _sums(archive, retired, [each for part in parts for each in part.periods()]))
    return [_vehicle_row(row, part, sums) for row, part in zip(rows, parts, strict=True)]


async def meter_energy_with_archive(
    archive: Archive, connection: Any, meter_id: str, periods: Sequence[Period], read: Callable[[], Awaitable[Rows]]
) -> Rows:
    """The rows that `read` returns for a meter and a period each, archived months included.

    Raises:
        Gone: a month of the periods is missing.
    """
    if not periods:
        return await read()
    opens, closes = min(each[0] for each in periods), max(each[1] for each in periods)
    rows, retired = await archive.beside(connection, [METERS], opens, closes, read)
    if not retired:
        return rows
    device = METERS, meter_id
    sums = await archive.run(lambda: _sums(archive, retired, [(device, period) for period in periods]))
    archived = [sums[device, period] for period in periods]
    return [
        {**row, "kwh": row["kwh"] + each.kwh, "readings": row["readings"] + each.readings}
        for row, each in zip(rows, archived, strict=True)
    ]


def _sums(
    archive: Archive, months: Sequence[RetiredMonth], wanted: Sequence[tuple[Device, Period]]
) -> "dict[tuple[Device, Period], Sums]":
    """The sums of each device over each period, month by month, so that only one month of a device is in memory."""
    from sql.archive.reader import Sums, sums_of  # noqa: PLC0415 - pyarrow is slow to load; only archives need it

    found = dict.fromkeys(wanted, Sums())
    for device in dict.fromkeys(device for device, _ in wanted):
        history, device_id = device
        periods = [period for each, period in found if each == device]
        for month in months:
            if month.history == history:
                directories = archive.directories(month)
                for period, sums in zip(
                    periods, sums_of(directories, history, ENERGY[history], device_id, periods), strict=True
                ):
                    found[device, period] = found[device, period].plus(sums)
    return found


def _vehicle_row(row: Mapping[str, Any], parts: _Parts, sums: "dict[tuple[Device, Period], Sums]") -> Mapping[str, Any]:
    """A row of `energy_of` with the archived sums added."""
    whole = sums[parts.vehicle, parts.window]
    added = dict(row)
    for suffix, pieces in (("", parts.assigned), ("_compared", parts.compared)):
        added[f"ac_kwh{suffix}"] += sum(sums[each].kwh for each in pieces)
        added[f"ac_points{suffix}"] += sum(sums[each].readings for each in pieces)
    for suffix, pieces in (("_assigned", parts.assigned), ("_compared", parts.compared)):
        added[f"dc_kwh{suffix}"] += sum(sums[parts.vehicle, period].kwh for _, period in pieces)
        added[f"dc_points{suffix}"] += sum(sums[parts.vehicle, period].readings for _, period in pieces)
    if whole.readings:
        stored = row["average_battery_temp"] * row["dc_points"] if row["dc_points"] else 0.0
        readings = row["dc_points"] + whole.readings
        added["average_battery_temp"] = (stored + (whole.battery_temp_sum or 0.0)) / readings
    added["dc_kwh"] += whole.kwh
    added["dc_points"] += whole.readings
    for name, merge in (("battery_temp_max", max), ("soc_min", min), ("soc_max", max)):
        known = [each for each in (row[name], getattr(whole, name)) if each is not None]
        added[name] = merge(known) if known else None
    return added
