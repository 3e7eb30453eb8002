"""Efficiency trends of the whole fleet, computed once a day: days from the database -> trend -> table vehicle_trends."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from math import inf
from time import monotonic
from typing import Any, Final

import asyncpg
import structlog

from sql.analytics.efficiency import EnergySums, Thresholds, assess_efficiency
from sql.analytics.fault_state import JUDGED
from sql.analytics.trend import WINDOW_DAYS, Day, Trend, trend
from sql.queries import queries

log = structlog.get_logger(__name__)

VEHICLES_PER_STATEMENT: Final = 250  # each with WINDOW_DAYS periods
DAY: Final = timedelta(days=1)
GRACE: Final = timedelta(minutes=30)  # for late readings, after midnight and before a day is evaluated


async def refresh_trends(
    connection: "asyncpg.Connection[asyncpg.Record]", now: datetime, thresholds: Thresholds, *, seconds: float = inf
) -> int:
    """Compute the trends up to yesterday (UTC) that are not stored yet.

    Args:
        connection: of the schema's owner.
        now: the server's clock.
        thresholds: for the efficiency of each day, and for the day a decline becomes a fault.
        seconds: about how long it may take; the rest is left to the next call.

    Returns:
        The number of vehicles computed.
    """
    deadline = monotonic() + seconds
    last_day = (now - GRACE).astimezone(UTC).date() - DAY
    computed = 0
    while due := await _vehicles_due(connection, last_day):
        days = await _efficiency_days(connection, due, last_day, thresholds)
        await _store(connection, {each: trend(days[each], thresholds.fault_below) for each in due}, last_day)
        computed += len(due)
        if monotonic() > deadline:
            break
    if computed:
        log.info("trends_computed", vehicles=computed, last_day=str(last_day))
    return computed


async def _vehicles_due(connection: Any, last_day: date) -> list[str]:
    rows = queries.trends_due(connection, last_day=last_day, row_limit=VEHICLES_PER_STATEMENT)
    return [row["vehicle_id"] async for row in rows]


async def _efficiency_days(
    connection: Any, vehicle_ids: Sequence[str], last_day: date, thresholds: Thresholds
) -> dict[str, list[Day]]:
    """The days of each vehicle up to `last_day`, oldest first; the ratio is None where it cannot be assessed."""
    window = [last_day - DAY * back for back in reversed(range(WINDOW_DAYS))]
    present = queries.days_with_readings(
        connection, vehicle_ids=list(vehicle_ids), first_day=window[0], last_day=last_day
    )
    asked = [(row["vehicle_id"], datetime.combine(row["day"], time(), UTC)) async for row in present]
    rows = queries.energy_of(
        connection,
        vehicle_ids=[vehicle_id for vehicle_id, _ in asked],
        opens=[midnight for _, midnight in asked],
        closes=[midnight + DAY for _, midnight in asked],
    )
    ratios: dict[tuple[str, date], float] = {}
    async for row in rows:
        efficiency = assess_efficiency(EnergySums.from_row(row), thresholds)
        if efficiency.status in JUDGED and efficiency.ratio is not None:
            ratios[row["vehicle_id"], row["opens"].astimezone(UTC).date()] = efficiency.ratio
    return {each: [Day(day, ratios.get((each, day))) for day in window] for each in vehicle_ids}


async def _store(connection: Any, trends: dict[str, Trend], last_day: date) -> None:
    found: Iterable[Trend] = trends.values()
    await queries.store_trends(
        connection,
        last_day=last_day,
        vehicle_ids=list(trends),
        days=[each.days for each in found],
        slopes=[each.slope for each in found],
        lows=[each.slope_low for each in found],
        highs=[each.slope_high for each in found],
        levels=[each.level for each in found],
        statuses=[each.status for each in found],
        until_faults=[each.days_until_fault for each in found],
    )
