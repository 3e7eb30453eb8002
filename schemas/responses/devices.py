"""Live status of meters and vehicles."""

from datetime import datetime

from pydantic import Field

from schemas.responses.base import Cursor, ResponseBody, UnavailableCells


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


class MeterPage(ResponseBody):
    """One page of meters, in the order of their ids."""

    items: list[MeterStatus]
    next: Cursor
    unavailable_cells: UnavailableCells


class VehiclePage(ResponseBody):
    """One page of vehicles, in the order of their ids."""

    items: list[VehicleStatus]
    next: Cursor
    unavailable_cells: UnavailableCells
