"""Responses about the past: readings of one device, its hours and days, and faults of chargers."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from schemas.responses.base import Coverage, Cursor, ResponseBody, UnavailableCells


class VehicleReadingItem(ResponseBody):
    """A stored reading of a vehicle."""

    recorded_at: datetime = Field(description="the device's clock")
    kwh_delivered_dc: float = Field(description="kWh over the interval since the previous reading")
    soc: float = Field(description="battery state of charge in %")
    battery_temp: float = Field(description="degrees Celsius")


class MeterReadingItem(ResponseBody):
    """A stored reading of a meter."""

    recorded_at: datetime = Field(description="the device's clock")
    kwh_consumed_ac: float = Field(description="kWh over the interval since the previous reading")
    voltage: float = Field(description="V")


class VehicleBucket(ResponseBody):
    """One hour or day of a vehicle."""

    start: datetime = Field(description="inclusive")
    end: datetime = Field(description="exclusive")
    kwh_consumed_ac: float | None = Field(description="kWh that the assigned meters measured; null when unassigned")
    kwh_delivered_dc: float = Field(description="kWh that reached the battery")
    efficiency_ratio: float | None = Field(
        description="DC/AC x 100 in %, over assigned time, up to the older of both sides' newest readings; null when one side "
        "has none"
    )
    readings: int
    average_battery_temp: float | None = Field(description="degrees Celsius")
    battery_temp_max: float | None = Field(description="degrees Celsius")
    soc_min: float | None = Field(description="lowest state of charge in %")
    soc_max: float | None = Field(description="highest state of charge in %")
    coverage: Coverage = Field(description="of the whole bucket, even if it has not ended yet")


class MeterBucket(ResponseBody):
    """One hour or day of a meter."""

    start: datetime = Field(description="inclusive")
    end: datetime = Field(description="exclusive")
    kwh_consumed_ac: float = Field(description="kWh")
    readings: int


class VehicleReadings(ResponseBody):
    """One page of readings in chronological order."""

    items: list[VehicleReadingItem]
    next: Cursor


class VehicleBuckets(ResponseBody):
    """One page of hours or days in chronological order, including those without readings."""

    items: list[VehicleBucket]
    next: Cursor


class MeterReadings(ResponseBody):
    """One page of readings in chronological order."""

    items: list[MeterReadingItem]
    next: Cursor


class MeterBuckets(ResponseBody):
    """One page of hours or days in chronological order, including those without readings."""

    items: list[MeterBucket]
    next: Cursor


class Fault(ResponseBody):
    """An efficiency fault of a charger, from its detection to its recovery."""

    fault_id: int = Field(description="unique within a cell")
    cell: str | None = Field(
        None, exclude_if=lambda cell: cell is None, description="the cell of the vehicle, if the service has several"
    )
    vehicle_id: str
    meter_ids: list[str] = Field(description="meters assigned in the 24 hours before the fault opened")
    state: Literal["open", "closed"]
    opened_at: datetime
    opened_ratio: float = Field(description="DC/AC x 100 in % when the fault opened")
    opened_energy_ac: float = Field(description="kWh of the 24 hours before the fault opened")
    opened_energy_dc: float = Field(description="kWh of the 24 hours before the fault opened")
    lowest_ratio: float = Field(description="lowest efficiency in % since the fault opened")
    closed_at: datetime | None
    closed_ratio: float | None


class Faults(ResponseBody):
    """One page of efficiency faults, newest first."""

    items: list[Fault]
    next: Cursor
    unavailable_cells: UnavailableCells
