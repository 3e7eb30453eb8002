"""Answers about the past of one device: its readings, or its hours and days; and the faults of chargers."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from schemas.responses.base import Answer, Coverage, Cursor


class VehicleReadingItem(Answer):
    """A stored reading of a vehicle."""

    recorded_at: datetime = Field(description="the device's clock")
    kwh_delivered_dc: float = Field(description="kWh over the interval since the previous reading")
    soc: float = Field(description="battery state of charge in %")
    battery_temp: float = Field(description="degrees Celsius")


class MeterReadingItem(Answer):
    """A stored reading of a meter."""

    recorded_at: datetime = Field(description="the device's clock")
    kwh_consumed_ac: float = Field(description="kWh over the interval since the previous reading")
    voltage: float = Field(description="V")


class VehicleBucket(Answer):
    """An hour or a day of a vehicle."""

    start: datetime = Field(description="included")
    end: datetime = Field(description="not included")
    kwh_consumed_ac: float | None = Field(description="kWh that the assigned meters measured; null when unassigned")
    kwh_delivered_dc: float = Field(description="kWh that reached the battery")
    efficiency_ratio: float | None = Field(description="DC/AC x 100 in %, of assigned time")
    readings: int
    average_battery_temp: float | None = Field(description="degrees Celsius")
    battery_temp_max: float | None = Field(description="degrees Celsius")
    soc_min: float | None = Field(description="lowest state of charge in %")
    soc_max: float | None = Field(description="highest state of charge in %")
    coverage: Coverage = Field(description="of the whole bucket, also of one that has not ended yet")


class MeterBucket(Answer):
    """An hour or a day of a meter."""

    start: datetime = Field(description="included")
    end: datetime = Field(description="not included")
    kwh_consumed_ac: float = Field(description="kWh")
    readings: int


class VehicleReadings(Answer):
    """Readings in the order of their time."""

    items: list[VehicleReadingItem]
    next: Cursor


class VehicleBuckets(Answer):
    """Hours or days in the order of their time; those without a reading are there as well."""

    items: list[VehicleBucket]
    next: Cursor


class MeterReadings(Answer):
    """Readings in the order of their time."""

    items: list[MeterReadingItem]
    next: Cursor


class MeterBuckets(Answer):
    """Hours or days in the order of their time; those without a reading are there as well."""

    items: list[MeterBucket]
    next: Cursor


class Fault(Answer):
    """A charger that loses too much, from when it was found to when it was good again."""

    fault_id: int
    vehicle_id: str
    meter_ids: list[str] = Field(description="the meters assigned in the 24 hours before it was opened")
    state: Literal["open", "closed"]
    opened_at: datetime
    opened_ratio: float = Field(description="DC/AC x 100 in %, as it was opened")
    opened_energy_ac: float = Field(description="kWh of the 24 hours that opened it")
    opened_energy_dc: float = Field(description="kWh of the 24 hours that opened it")
    lowest_ratio: float = Field(description="the lowest efficiency seen since, in %")
    closed_at: datetime | None
    closed_ratio: float | None


class Faults(Answer):
    """Efficiency faults, newest first."""

    items: list[Fault]
    next: Cursor
