"""Days of vehicles out of the database -> trends; once a day for the whole fleet."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from math import inf
from time import monotonic
from typing import Any, Final

import asyncpg
import structlog

from sql.analytics.efficiency import EnergySums, Thresholds, judge
from sql.analytics.fault_state import JUDGED
from sql.analytics.trend import WINDOW_DAYS, Day, Trend, trend
from sql.queries import queries

log = structlog.get_logger(__name__)

AT_ONCE: Final = 250  # vehicles, each with a month of days
DAY: Final = timedelta(days=1)
LATE_READINGS: Final = timedelta(minutes=30)  # after midnight, before a day is looked at


async def refresh_trends(
    connection: "asyncpg.Connection[asyncpg.Record]", now: datetime, limits: Thresholds, *, seconds: float = inf
) -> int:
    """The trend of every vehicle up to yesterday (UTC), where it is not known yet, for about so many seconds; how many were
    computed.
    """
    ends = monotonic() + seconds
    last_day = (now - LATE_READINGS).astimezone(UTC).date() - DAY
    computed = 0
    while due := [
        row["vehicle_id"] async for row in queries.trends_due(connection, last_day=last_day, row_limit=AT_ONCE)
    ]:
        days = await days_of(connection, due, last_day, limits)
        await _store(connection, {each: trend(days[each], limits.fault_below) for each in due}, last_day)
        computed += len(due)
        if monotonic() > ends:
            break
    if computed:
        log.info("trends_computed", vehicles=computed, last_day=str(last_day))
    return computed


async def days_of(
    connection: Any, vehicle_ids: Sequence[str], last_day: date, limits: Thresholds
) -> dict[str, list[Day]]:
    """The days of each vehicle up to `last_day`, the oldest first; those that cannot be judged have no ratio."""
    midnights = [datetime.combine(last_day, time(), UTC) - DAY * back for back in reversed(range(WINDOW_DAYS))]
    rows = queries.energy_of(
        connection,
        vehicle_ids=[each for each in vehicle_ids for _ in midnights],
        opens=midnights * len(vehicle_ids),
        closes=[midnight + DAY for midnight in midnights] * len(vehicle_ids),
    )
    days: dict[str, list[Day]] = {each: [] for each in vehicle_ids}
    async for row in rows:
        judged = judge(EnergySums.of(row), limits)
        ratio = judged.ratio if judged.status in JUDGED else None
        days[row["vehicle_id"]].append(Day(row["opens"].astimezone(UTC).date(), ratio))
    return days


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
