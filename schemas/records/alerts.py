"""Records of the alert topic: an efficiency fault was opened or closed."""

from datetime import datetime
from typing import Literal

import msgspec


class Alert(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One event of a fault. It may be published more than once; consumers deduplicate by `event_id`, a UUID.

    `event_id` and `fault_id` are never used again, even when the database is restored to an earlier time. Efficiencies are in %,
    energies in kWh over the 24 hours from `window_start` to `window_end`, up to the older of both sides' newest readings.
    """

    event_id: str
    event: Literal["fault_opened", "fault_closed"]
    fault_id: int
    vehicle_id: str
    meter_ids: list[str]
    at: datetime
    efficiency_ratio: float
    energy_consumed_ac: float
    energy_delivered_dc: float
    window_start: datetime
    window_end: datetime
    threshold_percent: float
