"""The two kinds of telemetry, as data: how a record becomes a row and which queries store it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from schemas import readings
from schemas.readings import MeterReading, Reading, VehicleReading
from sql.queries import queries

# (device id, recorded_at, position of its record in the batch, then the measured values). Rows sort by identity first and by
# arrival among copies of one reading.
Row = tuple[Any, ...]
DEVICE: Final = 0
RECORDED_AT: Final = 1
POSITION: Final = 2


@dataclass(frozen=True, slots=True, eq=False)
class Telemetry:
    """One kind of reading on its way from a topic into its tables."""

    name: str
    reading: type[Reading]
    decode: Callable[[bytes], Any]
    row: Callable[[Any, int], Row]
    history: str
    columns: tuple[str, ...]
    arguments: tuple[str, ...]
    newest: Callable[..., Any]
    insert_new: Callable[..., Any]
    match: Callable[..., Any]
    upsert_status: Callable[..., Any]

    def columnar(self, rows: list[Row]) -> dict[str, list[Any]]:
        """Rows as one list per column, named as the arguments of this kind's queries."""
        if not rows:
            return {name: [] for name in self.arguments}
        device, recorded_at, _, *values = map(list, zip(*rows, strict=True))
        return dict(zip(self.arguments, (device, recorded_at, *values), strict=True))


def _meter_row(reading: MeterReading, position: int) -> Row:
    return (reading.meter_id, reading.timestamp, position, reading.kwh_consumed_ac, reading.voltage)


def _vehicle_row(reading: VehicleReading, position: int) -> Row:
    return (
        reading.vehicle_id,
        reading.timestamp,
        position,
        reading.kwh_delivered_dc,
        reading.soc,
        reading.battery_temp,
    )


METER: Final = Telemetry(
    name="meter",
    reading=MeterReading,
    decode=readings.decode_meter,
    row=_meter_row,
    history="meter_telemetry_history",
    columns=("meter_id", "recorded_at", "kwh_consumed_ac", "voltage"),
    arguments=("ids", "times", "kwhs", "voltages"),
    newest=queries.newest_meter_readings,
    insert_new=queries.insert_new_meter_readings,
    match=queries.match_meter_readings,
    upsert_status=queries.upsert_meter_status,
)
VEHICLE: Final = Telemetry(
    name="vehicle",
    reading=VehicleReading,
    decode=readings.decode_vehicle,
    row=_vehicle_row,
    history="vehicle_telemetry_history",
    columns=("vehicle_id", "recorded_at", "kwh_delivered_dc", "soc", "battery_temp"),
    arguments=("ids", "times", "kwhs", "socs", "temperatures"),
    newest=queries.newest_vehicle_readings,
    insert_new=queries.insert_new_vehicle_readings,
    match=queries.match_vehicle_readings,
    upsert_status=queries.upsert_vehicle_status,
)
