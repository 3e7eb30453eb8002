"""Answers of the read service: JSON bodies in camelCase, units in the descriptions."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Judgement = Literal["healthy", "degraded", "faulty", "insufficient_data", "unassigned", "implausible"]


class Answer(BaseModel):
    """The form that all answers share."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, frozen=True)


class Coverage(Answer):
    """How much of what each side should have sent is there: readings / minutes, 0 to 1."""

    ac: float | None = Field(
        description="readings of the assigned meters per minute of assignment; null when unassigned"
    )
    dc: float = Field(description="readings of the vehicle per minute of the window, or of its assignments in it")


class Performance(Answer):
    """Energy in, energy out and temperature of one vehicle over 24 hours."""

    vehicle_id: str
    total_energy_consumed_ac: float | None = Field(
        description="kWh that the assigned meters measured; null when unassigned"
    )
    total_energy_delivered_dc: float = Field(description="kWh that reached the battery")
    efficiency_ratio: float | None = Field(
        description="DC/AC x 100 in %, of the time the vehicle was assigned to a meter"
    )
    average_battery_temp: float | None = Field(description="degrees Celsius")
    time_window_start: datetime = Field(description="included")
    time_window_end: datetime = Field(description="not included")
    data_points: int = Field(description="the vehicle's readings in the window")
    coverage: Coverage
    status: Judgement = Field(
        description="whether the ratio may be acted on, and what it says; below 85 % is a hardware fault"
    )
    reason: str = Field(description="why, in words")


class MeterStatus(Answer):
    """The newest reading of a meter, by its own clock."""

    meter_id: str
    last_kwh_consumed_ac: float = Field(description="kWh of the last interval")
    last_voltage: float = Field(description="V")
    recorded_at: datetime = Field(description="the device's clock")
    updated_at: datetime = Field(description="the server's clock")


class VehicleStatus(Answer):
    """The newest reading of a vehicle, by its own clock."""

    vehicle_id: str
    soc: float = Field(description="battery state of charge in %")
    last_kwh_delivered_dc: float = Field(description="kWh of the last interval")
    last_battery_temp: float = Field(description="degrees Celsius")
    recorded_at: datetime = Field(description="the device's clock")
    updated_at: datetime = Field(description="the server's clock")


Cursor = Annotated[str | None, Field(description="`after` of the following page; null on the last one")]


class MeterPage(Answer):
    """Meters in the order of their ids."""

    items: list[MeterStatus]
    next: Cursor


class VehiclePage(Answer):
    """Vehicles in the order of their ids."""

    items: list[VehicleStatus]
    next: Cursor


class Ingested(Answer):
    """Kafka has the reading, on all replicas it waits for."""

    success: Literal[True] = True
    message: str = Field(examples=["Meter METER-001 data ingested successfully"])


class Health(Answer):
    """Whether the service is alive, or ready, and what it waits for."""

    status: Literal["ok", "unavailable"]
    waiting_for: dict[str, str] = Field(default_factory=dict)


class Readiness(Health):
    """Where questions are answered from now, and how much older than the primary's the answers may be (seconds)."""

    data_source: Literal["replica", "primary"] | None = None
    data_staleness_seconds: float | None = None


class DeadLetterCount(Answer):
    """Unresolved dead letters of one topic with one reason."""

    topic: str
    reason: str
    letters: int
    first_rejected: datetime
    last_rejected: datetime


class DeadLetterCounts(Answer):
    """Records that could not become readings and that nobody has replayed or discarded."""

    items: list[DeadLetterCount]
    total: int


class FieldProblem(Answer):
    """One thing wrong with one field of a request."""

    field: str
    reason: str
    detail: str


class Problem(Answer):
    """An error, as RFC 9457 says (application/problem+json)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] | None = None
