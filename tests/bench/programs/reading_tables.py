"""Tables, columns and SQL of the two reading types, for programs that do by hand what others do with a library."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from schemas.records.readings import MeterReading, VehicleReading, decode_meter, decode_vehicle

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class ReadingTables:
    """Tables of one reading type; `row` gives (device id, instant, values...) in the order of `columns`."""

    history: str
    live: str
    columns: tuple[str, ...]
    upsert: str
    decode: Callable[[bytes], Any]
    row: Callable[[Any], Row]

    @property
    def insert(self) -> str:
        """Inserts one row into history, unless it exists."""
        parameters = ", ".join(f"${number}" for number in range(1, len(self.columns) + 1))
        return f"INSERT INTO {self.history} ({', '.join(self.columns)}) VALUES ({parameters}) ON CONFLICT DO NOTHING"

    @property
    def upsert_one(self) -> str:
        """Upserts one row into live status, unless a newer one exists."""
        parameters = ", ".join(f"${number}" for number in range(1, len(self.columns) + 1))
        return self.upsert.replace("SELECT given.*, now() FROM given", f"VALUES ({parameters}, now())")

    @property
    def upsert_many(self) -> str:
        """Upserts many rows into live status, unless newer ones exist; one array a column."""
        arrays = ", ".join(
            f"${number}::{sql_type}[]"
            for number, sql_type in enumerate(("text", "timestamptz", *["float8"] * (len(self.columns) - 2)), 1)
        )
        return self.upsert.replace("FROM given", f"FROM unnest({arrays}) AS given")


def _meter_row(reading: MeterReading) -> Row:
    return reading.meter_id, reading.timestamp, reading.kwh_consumed_ac, reading.voltage


def _vehicle_row(reading: VehicleReading) -> Row:
    return reading.vehicle_id, reading.timestamp, reading.kwh_delivered_dc, reading.soc, reading.battery_temp


METER: Final = ReadingTables(
    history="meter_telemetry_history",
    live="meter_live_status",
    columns=("meter_id", "recorded_at", "kwh_consumed_ac", "voltage"),
    upsert="""
INSERT INTO meter_live_status AS live (meter_id, recorded_at, last_kwh_consumed_ac, last_voltage, updated_at)
SELECT given.*, now() FROM given
ON CONFLICT (meter_id) DO UPDATE SET recorded_at = excluded.recorded_at, updated_at = excluded.updated_at,
    last_kwh_consumed_ac = excluded.last_kwh_consumed_ac, last_voltage = excluded.last_voltage
WHERE excluded.recorded_at > live.recorded_at""",
    decode=decode_meter,
    row=_meter_row,
)
VEHICLE: Final = ReadingTables(
    history="vehicle_telemetry_history",
    live="vehicle_live_status",
    columns=("vehicle_id", "recorded_at", "kwh_delivered_dc", "soc", "battery_temp"),
    upsert="""
INSERT INTO vehicle_live_status AS live (vehicle_id, recorded_at, last_kwh_delivered_dc, soc, last_battery_temp, updated_at)
SELECT given.*, now() FROM given
ON CONFLICT (vehicle_id) DO UPDATE SET recorded_at = excluded.recorded_at, updated_at = excluded.updated_at,
    last_kwh_delivered_dc = excluded.last_kwh_delivered_dc, soc = excluded.soc, last_battery_temp = excluded.last_battery_temp
WHERE excluded.recorded_at > live.recorded_at""",
    decode=decode_vehicle,
    row=_vehicle_row,
)
