"""The 24 hours of one vehicle."""

from datetime import datetime

from pydantic import Field

from schemas.responses.base import Coverage, Judgement, ResponseBody


class Performance(ResponseBody):
    """Energy in, energy out and battery temperature of one vehicle over 24 hours."""

    vehicle_id: str
    total_energy_consumed_ac: float | None = Field(
        description="kWh that the assigned meters measured; null when unassigned"
    )
    total_energy_delivered_dc: float = Field(description="kWh that reached the battery")
    efficiency_ratio: float | None = Field(
        description="DC/AC x 100 in %, over the time the vehicle was assigned to a meter, up to the older of both sides' newest "
        "readings; null when one side has none"
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
