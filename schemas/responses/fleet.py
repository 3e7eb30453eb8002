"""Answers about all vehicles at once: the summary, the ranking, what ages."""

from datetime import date, datetime
from typing import Literal

from pydantic import Field

from schemas.responses.base import Answer, Coverage, Cursor, Judgement, Performance

Trend = Literal["steady", "aging", "improving", "insufficient_data"]


class Performances(Answer):
    """The vehicles asked for, in the order asked."""

    items: list[Performance]
    unknown: list[str] = Field(description="those of which nothing was ever heard; they have no item")


class Statuses(Answer):
    """How many vehicles were judged how."""

    healthy: int = 0
    degraded: int = 0
    faulty: int = 0
    insufficient_data: int = 0
    unassigned: int = 0
    implausible: int = 0


class Share(Answer):
    """Vehicles whose efficiency lies in `[fromPercent, toPercent)`."""

    from_percent: float
    to_percent: float | None = Field(description="null: no end")
    vehicles: int


class FleetLive(Answer):
    """What arrives, as of now."""

    vehicles: int = Field(description="vehicles that have ever sent a reading")
    vehicles_reporting: int = Field(description="those with a reading of the last 5 minutes, by their own clock")
    meters: int = Field(description="meters that have ever sent a reading")
    meters_reporting: int = Field(description="those with a reading of the last 5 minutes, by their own clock")
    records_consumed: int = Field(description="records taken from Kafka since ever")
    readings_per_second: float | None = Field(
        description="records consumed a second, of the last 10 s or since this was last asked; null until asked twice"
    )
    lag_records: int = Field(description="records in Kafka behind the last batch written, when it was written")
    newest_reading: datetime | None = Field(description="of any device, by its own clock")
    freshness_seconds: float | None = Field(description="age of the newest reading, 0 or more")
    written_at: datetime | None = Field(description="when the last batch was written")


class FleetSummary(Answer):
    """The fleet's 24 hours, and what arrives now."""

    time_window_start: datetime | None = Field(description="included; null before the first evaluation")
    time_window_end: datetime | None = Field(description="not included; null before the first evaluation")
    vehicles: int = Field(description="vehicles evaluated")
    total_energy_consumed_ac: float = Field(description="kWh that the assigned meters measured")
    total_energy_delivered_dc: float = Field(description="kWh that reached the batteries")
    efficiency_ratio: float | None = Field(description="DC/AC x 100 in %, of assigned time; null without AC energy")
    statuses: Statuses
    distribution: list[Share] = Field(description="vehicles by efficiency, of those whose ratio may be judged")
    open_faults: int = Field(description="as of now")
    aging: int = Field(description="vehicles whose efficiency falls from day to day, as of now")
    live: FleetLive
    evaluated_at: datetime | None = Field(description="when the numbers were made")
    stale: bool = Field(description="no evaluation within the last 3 minutes: the numbers are of timeWindowEnd")


class RankedVehicle(Answer):
    """A vehicle's last evaluation, and its newest reading."""

    vehicle_id: str
    efficiency_ratio: float | None = Field(description="DC/AC x 100 in %")
    status: Judgement
    reason: str
    total_energy_consumed_ac: float | None = Field(description="kWh in 24 hours; null when unassigned")
    total_energy_delivered_dc: float = Field(description="kWh in 24 hours")
    average_battery_temp: float | None = Field(description="degrees Celsius")
    coverage: Coverage
    soc: float | None = Field(description="battery state of charge in %, of the newest reading")
    recorded_at: datetime | None = Field(description="the newest reading, by the vehicle's clock")
    fault_open: bool
    trend: Trend | None = Field(description="null before the first look at its days")


class Ranking(Answer):
    """Vehicles in the order asked for, those without a value last."""

    items: list[RankedVehicle]
    next: Cursor
    total: int = Field(description="vehicles that match, on all pages")


class AgingVehicle(Answer):
    """A vehicle whose efficiency falls from day to day."""

    vehicle_id: str
    status: Trend
    slope_per_day: float = Field(description="per cent a day; negative: falling")
    slope_low: float | None = Field(description="lower end of its 95 % interval")
    slope_high: float | None = Field(description="upper end of its 95 % interval")
    level: float | None = Field(description="the fitted efficiency of the last day in %")
    days_until_fault: float | None = Field(description="days until the fault threshold is reached, as it goes on")
    last_day: date
    computed_at: datetime


class Aging(Answer):
    """Vehicles that age, soonest fault first."""

    items: list[AgingVehicle]


class TrendDay(Answer):
    """One UTC day of a vehicle."""

    day: date
    efficiency_ratio: float | None = Field(description="DC/AC x 100 in %")
    coverage: float = Field(description="share of the expected readings, of the side that has fewer, 0 to 1")


class VehicleTrend(Answer):
    """Where the efficiency of a vehicle is heading, from its 30 UTC days before that of the end."""

    vehicle_id: str
    status: Trend
    slope_per_day: float | None = Field(description="per cent a day; negative: falling")
    slope_low: float | None = Field(description="lower end of its 95 % interval")
    slope_high: float | None = Field(description="upper end of its 95 % interval")
    level: float | None = Field(description="the fitted efficiency of the last day in %")
    days_until_fault: float | None = Field(description="days until the fault threshold is reached, as it goes on")
    days: list[TrendDay]


class Away(Answer):
    """Why no news come at the moment."""

    detail: str
