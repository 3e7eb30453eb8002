"""Response bodies of the API: JSON in camelCase, units in the descriptions."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Judgement = Literal["healthy", "degraded", "faulty", "insufficient_data", "unassigned", "implausible"]


class ResponseBody(BaseModel):
    """Base of all response bodies."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, frozen=True)


class Coverage(ResponseBody):
    """Share of the expected readings that each side has sent: readings per minute, 0 to 1."""

    ac: float | None = Field(
        description="readings of the assigned meters per minute of assignment; null when unassigned"
    )
    dc: float = Field(description="readings of the vehicle per minute of assignment, or of the window when unassigned")


class Performance(ResponseBody):
    """Energy in, energy out and battery temperature of one vehicle over 24 hours."""

    vehicle_id: str
    total_energy_consumed_ac: float | None = Field(
        description="kWh that the assigned meters measured; null when unassigned"
    )
    total_energy_delivered_dc: float = Field(description="kWh that reached the battery")
    efficiency_ratio: float | None = Field(
        description="DC/AC x 100 in %, over the time the vehicle was assigned to a meter"
    )
    average_battery_temp: float | None = Field(description="degrees Celsius")
    time_window_start: datetime = Field(description="inclusive")
    time_window_end: datetime = Field(description="exclusive")
    data_points: int = Field(description="the vehicle's readings in the window")
    coverage: Coverage
    status: Judgement = Field(
        description="whether the ratio is reliable, and what it means; below 85 % is a hardware fault"
    )
    reason: str = Field(description="reason for the status, as text")


class MeterStatus(ResponseBody):
    """The newest reading of a meter, by its own clock."""

    meter_id: str
    last_kwh_consumed_ac: float = Field(description="kWh of the last interval")
    last_voltage: float = Field(description="V")
    recorded_at: datetime = Field(description="the device's clock")
    updated_at: datetime = Field(description="the server's clock")


class VehicleStatus(ResponseBody):
    """The newest reading of a vehicle, by its own clock."""

    vehicle_id: str
    soc: float = Field(description="battery state of charge in %")
    last_kwh_delivered_dc: float = Field(description="kWh of the last interval")
    last_battery_temp: float = Field(description="degrees Celsius")
    recorded_at: datetime = Field(description="the device's clock")
    updated_at: datetime = Field(description="the server's clock")


Cursor = Annotated[str | None, Field(description="value of `after` for the next page; null on the last page")]


class MeterPage(ResponseBody):
    """One page of meters, in the order of their ids."""

    items: list[MeterStatus]
    next: Cursor


class VehiclePage(ResponseBody):
    """One page of vehicles, in the order of their ids."""

    items: list[VehicleStatus]
    next: Cursor


class Ingested(ResponseBody):
    """Kafka has acknowledged the reading (acks=all)."""

    success: Literal[True] = True
    message: str = Field(examples=["Meter METER-001 data ingested successfully"])


class Health(ResponseBody):
    """Whether the service is alive or ready, and what it is waiting for."""

    status: Literal["ok", "unavailable"]
    waiting_for: dict[str, str] = Field(default_factory=dict)


class Readiness(Health):
    """Readiness, the server that reads are routed to, and by how many seconds its data may lag behind the primary."""

    data_source: Literal["replica", "primary"] | None = None
    data_staleness_seconds: float | None = None


class DeadLetterCount(ResponseBody):
    """Unresolved dead letters of one topic with one reason."""

    topic: str
    reason: str
    letters: int
    first_rejected: datetime
    last_rejected: datetime


class DeadLetterCounts(ResponseBody):
    """Dead letters that were neither replayed nor discarded."""

    items: list[DeadLetterCount]
    total: int


class FieldProblem(ResponseBody):
    """One error of one field of a request."""

    field: str
    reason: str
    detail: str


class Problem(ResponseBody):
    """An error as RFC 9457 problem details (application/problem+json)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] | None = None
