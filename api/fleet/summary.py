"""All vehicles at once: what was evaluated last, or any window judged now -> Tally -> FleetSummary."""

import time
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final

from api.fleet.reading_rate import ReadingRate
from schemas.responses.fleet import FleetLive, FleetSummary, Share, Statuses
from sql.analytics.efficiency import DIGITS, EnergySums, Thresholds, assess_efficiency
from sql.queries import queries

WINDOW: Final = timedelta(hours=24)
REPORTING_WITHIN: Final = timedelta(minutes=5)
STALE_AFTER: Final = timedelta(minutes=3)
AT_ONCE: Final = 1_000  # vehicles a statement, each well within its time-out where hours are rolled up
STEPS: Final = (0.0, *(float(step) for step in range(50, 101, 2)))  # per cent
MAY_BE_JUDGED: Final = frozenset({"healthy", "degraded", "faulty", "implausible"})


@dataclass(slots=True)
class FleetTally:
    """Vehicles of one window, counted by judgement and by step of STEPS (1 is the first), and their kWh."""

    window_end: datetime | None = None
    ac_kwh: float = 0.0
    dc_kwh: float = 0.0
    dc_kwh_assigned: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    steps: Counter[int] = field(default_factory=Counter)

    def add(self, found: Any, status: str, step: int | None, vehicles: int = 1) -> None:
        """Count vehicles of one judgement and step; `found` has their sums."""
        self.ac_kwh += found["ac_kwh"]
        self.dc_kwh += found["dc_kwh"]
        self.dc_kwh_assigned += found["dc_kwh_assigned"]
        self.statuses[status] += vehicles
        if step is not None and status in MAY_BE_JUDGED:
            self.steps[step] += vehicles


async def last_evaluation(connection: Any) -> FleetTally:
    """What `python -m sql maintain` found last."""
    tally = FleetTally()
    async for row in queries.fleet_evaluation(connection, bounds=STEPS):
        tally.add(row, row["status"], row["step"], row["vehicles"])
        tally.window_end = min(tally.window_end or row["window_end"], row["window_end"])
    return tally


async def evaluate_fleet(connection: Any, end: datetime, limits: Thresholds) -> FleetTally:
    """Every vehicle's 24 hours up to `end`, judged now."""
    tally, after = FleetTally(end), ""
    while True:
        rows = queries.fleet_vehicles(connection, after=after, row_limit=AT_ONCE)
        ids = [row["vehicle_id"] async for row in rows]
        number = len(ids)
        rows = queries.energy_of(connection, vehicle_ids=ids, opens=[end - WINDOW] * number, closes=[end] * number)
        async for row in rows:
            found = assess_efficiency(EnergySums.from_row(row), limits)
            tally.add(row, found.status, None if found.ratio is None else bisect_right(STEPS, found.ratio))
        if number < AT_ONCE:
            return tally
        after = ids[-1]


async def summary(connection: Any, pace: ReadingRate, tally: FleetTally, evaluated_at: datetime | None) -> FleetSummary:
    """The answer for a tally that was made at `evaluated_at`, with what arrives now."""
    now = datetime.now(UTC)
    live = await queries.fleet_live(connection, reporting_since=now - REPORTING_WITHIN)
    ratio = round(tally.dc_kwh_assigned / tally.ac_kwh * 100, DIGITS) if tally.ac_kwh else None
    return FleetSummary(
        time_window_start=tally.window_end and tally.window_end - WINDOW,
        time_window_end=tally.window_end,
        vehicles=tally.statuses.total(),
        total_energy_consumed_ac=tally.ac_kwh,
        total_energy_delivered_dc=tally.dc_kwh,
        efficiency_ratio=ratio,
        statuses=Statuses(**tally.statuses),
        distribution=_distribution(tally.steps),
        open_faults=live["open_faults"],
        aging=live["aging"],
        live=_live(live, pace, now),
        evaluated_at=evaluated_at,
        stale=evaluated_at is None or now - evaluated_at > STALE_AFTER,
    )


async def last_summary(connection: Any, pace: ReadingRate) -> FleetSummary:
    """The summary of the last evaluation."""
    tally = await last_evaluation(connection)
    return await summary(connection, pace, tally, tally.window_end)


def _distribution(steps: Counter[int]) -> list[Share]:
    bounds = pairwise((*STEPS, None))
    return [
        Share(from_percent=low or 0.0, to_percent=high, vehicles=steps[step])
        for step, (low, high) in enumerate(bounds, 1)
    ]


def _live(found: Any, pace: ReadingRate, now: datetime) -> FleetLive:
    newest = found["newest_reading"]
    return FleetLive(
        vehicles=found["vehicles"],
        vehicles_reporting=found["vehicles_reporting"],
        meters=found["meters"],
        meters_reporting=found["meters_reporting"],
        records_consumed=found["records_consumed"],
        readings_per_second=pace.look(time.monotonic(), found["records_consumed"]),
        lag_records=found["lag_records"],
        newest_reading=newest,
        freshness_seconds=max(0.0, (now - newest).total_seconds()) if newest else None,
        written_at=found["written_at"],
    )
