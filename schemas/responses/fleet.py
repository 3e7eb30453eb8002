"""Responses about the whole fleet: summary, ranking, aging vehicles, trends."""

from datetime import date, datetime
from typing import Literal

from pydantic import Field

from schemas.responses.base import Coverage, Cursor, Judgement, ResponseBody, UnavailableCells
from schemas.responses.performance import Performance

Trend = Literal["steady", "aging", "improving", "insufficient_data"]


class Performances(ResponseBody):
    """The requested vehicles, in the order of the request."""

    items: list[Performance]
    unknown: list[str] = Field(description="requested vehicles without any reading or assignment; they have no item")
    unavailable_cells: UnavailableCells


class Statuses(ResponseBody):
    """Number of vehicles by status."""

    healthy: int = 0
    degraded: int = 0
    faulty: int = 0
    insufficient_data: int = 0
    unassigned: int = 0
    implausible: int = 0


class Share(ResponseBody):
    """Vehicles whose efficiency lies in `[fromPercent, toPercent)`."""

    from_percent: float
    to_percent: float | None = Field(description="null: no end")
    vehicles: int


class FleetLive(ResponseBody):
    """Live figures of ingestion."""

    vehicles: int = Field(description="vehicles that have ever sent a reading")
    vehicles_reporting: int = Field(description="those with a reading of the last 5 minutes, by the device's clock")
    meters: int = Field(description="meters that have ever sent a reading")
    meters_reporting: int = Field(description="those with a reading of the last 5 minutes, by the device's clock")
    records_consumed: int = Field(description="records consumed from Kafka in total")
    readings_per_second: float | None = Field(
        description="records consumed per second over the last 10 s or since the previous measurement; null before the second one"
    )
    lag_records: int = Field(
        description="consumer lag in records, as of the last batch written; of a partition that stands still, half a minute old"
    )
    newest_reading: datetime | None = Field(description="of any device, by the device's clock")
    freshness_seconds: float | None = Field(description="age of the newest reading, 0 or more")
    written_at: datetime | None = Field(description="when the last batch was written")


class FleetSummary(ResponseBody):
    """The fleet over 24 hours, and live figures."""

    time_window_start: datetime | None = Field(description="inclusive; null before the first evaluation")
    time_window_end: datetime | None = Field(description="exclusive; null before the first evaluation")
    vehicles: int = Field(description="vehicles evaluated")
    total_energy_consumed_ac: float = Field(description="kWh that the assigned meters measured")
    total_energy_delivered_dc: float = Field(description="kWh that reached the batteries")
    efficiency_ratio: float | None = Field(
        description="DC/AC x 100 in %, of the vehicles that are healthy, degraded or faulty, over the assigned time for which "
        "both sides have readings; null without such a vehicle"
    )
    efficiency_coverage: float | None = Field(
        description="share of totalEnergyConsumedAc that efficiencyRatio covers, 0 to 1; null without AC energy"
    )
    vehicles_judged: int = Field(description="vehicles that efficiencyRatio covers")
    statuses: Statuses
    distribution: list[Share] = Field(description="vehicles by efficiency, of those with enough data")
    open_faults: int = Field(description="as of now")
    aging: int = Field(description="vehicles with a significant decline in efficiency, as of now")
    live: FleetLive
    evaluated_at: datetime | None = Field(description="when the figures were computed")
    stale: bool = Field(
        description="true: the last evaluation is older than 3 minutes, or in the future because a clock was wrong; the figures "
        "are those of timeWindowEnd"
    )
    unavailable_cells: UnavailableCells


class RankedVehicle(ResponseBody):
    """The last evaluation of a vehicle, and its newest reading."""

    vehicle_id: str
    efficiency_ratio: float | None = Field(description="DC/AC x 100 in %")
    status: Judgement
    reason: str
    total_energy_consumed_ac: float | None = Field(description="kWh in 24 hours; null when unassigned")
    total_energy_delivered_dc: float = Field(description="kWh in 24 hours")
    average_battery_temp: float | None = Field(description="degrees Celsius")
    coverage: Coverage
    soc: float | None = Field(description="battery state of charge in %, of the newest reading")
    recorded_at: datetime | None = Field(description="time of the newest reading, by the vehicle's clock")
    fault_open: bool
    trend: Trend | None = Field(description="null before the first daily trend computation")


class Ranking(ResponseBody):
    """One page of vehicles in the requested order, those without a value last."""

    items: list[RankedVehicle]
    next: Cursor
    total: int = Field(description="matching vehicles on all pages; with `search`, counted up to 5,000")
    total_is_exact: bool = Field(description="false: at least `total` vehicles match")
    unavailable_cells: UnavailableCells


class AgingVehicle(ResponseBody):
    """A vehicle with a significant decline in efficiency."""

    vehicle_id: str
    status: Trend
    slope_per_day: float = Field(description="percentage points per day; negative: declining")
    slope_low: float | None = Field(description="lower end of its 95 % interval")
    slope_high: float | None = Field(description="upper end of its 95 % interval")
    level: float | None = Field(description="the fitted efficiency of the last day in %")
    days_until_fault: float | None = Field(description="days until the fault threshold is reached at the current slope")
    last_day: date
    computed_at: datetime


class Aging(ResponseBody):
    """Aging vehicles, those with the earliest expected fault first."""

    items: list[AgingVehicle]
    unavailable_cells: UnavailableCells


class TrendDay(ResponseBody):
    """One UTC day of a vehicle."""

    day: date
    efficiency_ratio: float | None = Field(description="DC/AC x 100 in %")
    coverage: float = Field(description="share of the expected readings on the side with fewer readings, 0 to 1")


class VehicleTrend(ResponseBody):
    """Efficiency trend of a vehicle over the 30 UTC days before the day of `end`."""

    vehicle_id: str
    status: Trend
    slope_per_day: float | None = Field(description="percentage points per day; negative: declining")
    slope_low: float | None = Field(description="lower end of its 95 % interval")
    slope_high: float | None = Field(description="upper end of its 95 % interval")
    level: float | None = Field(description="the fitted efficiency of the last day in %")
    days_until_fault: float | None = Field(description="days until the fault threshold is reached at the current slope")
    days: list[TrendDay]


class UpdatesUnavailable(ResponseBody):
    """Why there are no live updates at the moment."""

    detail: str
