"""The fleet summary: the last evaluation, or any window evaluated now -> FleetFigures of each cell -> FleetSummary."""

import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final

from api.fleet.reading_rate import ReadingRates
from schemas.responses.fleet import FleetLive, FleetSummary, Share, Statuses
from sql.analytics.efficiency import DIGITS, WINDOW, EnergySums, Thresholds, assess_efficiency
from sql.analytics.fault_state import JUDGED
from sql.analytics.fleet import HISTOGRAM_BOUNDS, REPORTING_WITHIN
from sql.queries import queries, vehicle_id_batches

STALE_AFTER: Final = timedelta(minutes=3)
# Small enough for each statement to stay well within its timeout where hours are rolled up.
VEHICLES_PER_STATEMENT: Final = 1_000
# Vehicles, and meters, that one request counts: of a larger fleet, maintenance counts them once a minute.
MOST_COUNTED: Final = 20_000
STATUSES_IN_HISTOGRAM: Final = frozenset({"healthy", "degraded", "faulty", "implausible"})


@dataclass(slots=True)
class FleetTally:
    """Energy (kWh) of all vehicles in a window, and their number by status and by histogram bucket (1 is the lowest).

    `ac_kwh_judged` and `dc_kwh_judged` are of the vehicles with enough data to be judged, over the time that both sides cover.
    """

    window_end: datetime | None = None
    ac_kwh: float = 0.0
    dc_kwh: float = 0.0
    ac_kwh_judged: float = 0.0
    dc_kwh_judged: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    buckets: Counter[int] = field(default_factory=Counter)

    def add(self, sums: Any, status: str, bucket: int | None, vehicles: int = 1) -> None:
        """Adds vehicles with the same status and bucket; `sums` is a row with their energy."""
        self.ac_kwh += sums["ac_kwh"]
        self.dc_kwh += sums["dc_kwh"]
        self.statuses[status] += vehicles
        if status in JUDGED:
            self.ac_kwh_judged += sums["ac_kwh_compared"]
            self.dc_kwh_judged += sums["dc_kwh_compared"]
        if bucket is not None and status in STATUSES_IN_HISTOGRAM:
            self.buckets[bucket] += vehicles

    def add_all(self, other: "FleetTally") -> None:
        """Adds the vehicles of another database; the window is the older one."""
        ends = [end for end in (self.window_end, other.window_end) if end]
        self.window_end = min(ends, default=None)
        self.ac_kwh += other.ac_kwh
        self.dc_kwh += other.dc_kwh
        self.ac_kwh_judged += other.ac_kwh_judged
        self.dc_kwh_judged += other.dc_kwh_judged
        self.statuses += other.statuses
        self.buckets += other.buckets


@dataclass(frozen=True, slots=True)
class FleetFigures:
    """What one database knows of the fleet: a tally, when it was made, and a row of `fleet_live`."""

    tally: FleetTally
    evaluated_at: datetime | None
    live: Any


async def evaluate_fleet(connection: Any, end: datetime, thresholds: Thresholds) -> FleetTally:
    """Evaluates all vehicles now, over the 24 hours before `end`."""
    tally = FleetTally(end)
    async for vehicle_ids in vehicle_id_batches(connection, VEHICLES_PER_STATEMENT):
        opens, closes = [end - WINDOW] * len(vehicle_ids), [end] * len(vehicle_ids)
        rows = queries.energy_of(connection, vehicle_ids=vehicle_ids, opens=opens, closes=closes)
        async for row in rows:
            efficiency = assess_efficiency(EnergySums.from_row(row), thresholds)
            tally.add(row, efficiency.status, _bucket(efficiency.ratio))
    return tally


def _bucket(ratio: float | None) -> int | None:
    return None if ratio is None else bisect_right(HISTOGRAM_BOUNDS, ratio)


async def last_figures(connection: Any) -> FleetFigures:
    """The figures of the last evaluation by `python -m sql maintain`."""
    tally = await _last_evaluation(connection)
    return FleetFigures(tally, tally.window_end, await _live_figures(connection))


async def figures_of(connection: Any, end: datetime, thresholds: Thresholds) -> FleetFigures:
    """The figures of an evaluation made now, over the 24 hours before `end`."""
    tally = await evaluate_fleet(connection, end, thresholds)
    live = await _live_figures(connection)
    return FleetFigures(tally, live["asked_at"], live)


async def _live_figures(connection: Any) -> Any:
    return await queries.fleet_live(connection, reporting_within=REPORTING_WITHIN, most_counted=MOST_COUNTED)


async def _last_evaluation(connection: Any) -> FleetTally:
    tally = FleetTally()
    async for row in queries.fleet_evaluation(connection, bounds=HISTOGRAM_BOUNDS):
        tally.add(row, row["status"], row["step"], row["vehicles"])
        tally.window_end = min(tally.window_end or row["window_end"], row["window_end"])
    return tally


def summarize(figures: Mapping[str, FleetFigures], rates: ReadingRates, unavailable: list[str]) -> FleetSummary:
    """The summary of all cells, by their names; faults, trends and live figures are those of now.

    It is as old as the oldest evaluation, and stale if one of them is. An evaluation of the future is stale as well: the clock of
    its database was ahead when it was made.
    """
    tally = FleetTally()
    for each in figures.values():
        tally.add_all(each.tally)
    live = [each.live for each in figures.values()]
    evaluated = [each.evaluated_at for each in figures.values()]
    return FleetSummary(
        time_window_start=tally.window_end and tally.window_end - WINDOW,
        time_window_end=tally.window_end,
        vehicles=tally.statuses.total(),
        total_energy_consumed_ac=tally.ac_kwh,
        total_energy_delivered_dc=tally.dc_kwh,
        efficiency_ratio=round(tally.dc_kwh_judged / tally.ac_kwh_judged * 100, DIGITS)
        if tally.ac_kwh_judged
        else None,
        efficiency_coverage=round(min(1.0, tally.ac_kwh_judged / tally.ac_kwh), 4) if tally.ac_kwh else None,
        vehicles_judged=sum(tally.statuses[status] for status in JUDGED),
        statuses=Statuses(**tally.statuses),
        distribution=_distribution(tally.buckets),
        open_faults=sum(each["open_faults"] for each in live),
        aging=sum(each["aging"] for each in live),
        live=_live({name: each.live for name, each in figures.items()}, rates),
        evaluated_at=min((each for each in evaluated if each), default=None),
        stale=any(
            each.evaluated_at is None or abs(each.live["asked_at"] - each.evaluated_at) > STALE_AFTER
            for each in figures.values()
        ),
        unavailable_cells=unavailable,
    )


def _distribution(buckets: Counter[int]) -> list[Share]:
    bounds = pairwise((*HISTOGRAM_BOUNDS, None))
    return [
        Share(from_percent=low or 0.0, to_percent=high, vehicles=buckets[bucket])
        for bucket, (low, high) in enumerate(bounds, 1)
    ]


def _live(rows: Mapping[str, Any], rates: ReadingRates) -> FleetLive:
    def total(column: str) -> int:
        return sum(row[column] for row in rows.values())

    newest = [row["newest_reading"] for row in rows.values() if row["newest_reading"]]
    ages = [
        max(0.0, (row["asked_at"] - row["newest_reading"]).total_seconds())
        for row in rows.values()
        if row["newest_reading"]
    ]
    return FleetLive(
        vehicles=total("vehicles"),
        vehicles_reporting=total("vehicles_reporting"),
        meters=total("meters"),
        meters_reporting=total("meters_reporting"),
        records_consumed=total("records_consumed"),
        readings_per_second=rates.observe(
            time.monotonic(), {name: row["records_consumed"] for name, row in rows.items()}
        ),
        lag_records=total("lag_records"),
        newest_reading=max(newest, default=None),
        freshness_seconds=min(ages, default=None),
        written_at=max((row["written_at"] for row in rows.values() if row["written_at"]), default=None),
    )
