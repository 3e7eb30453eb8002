"""A time range -> its hours or days."""

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

Period = tuple[datetime, datetime]


def time_buckets(opens: datetime, closes: datetime, size: Literal["hour", "day"], zone: ZoneInfo) -> Iterator[Period]:
    """The hours (UTC) or days (in `zone`) of `[opens, closes)`, lazily; the first and the last are cut off at its ends.

    A day lasts from midnight to midnight, so it may have 23 or 25 hours. If a midnight does not exist, the day begins where
    clocks are set forward; if it occurs twice, the first one counts.
    """
    start = opens.astimezone(UTC)
    while start < closes:
        end = min(_hour_after(start) if size == "hour" else _midnight_after(start, zone), closes)
        yield start, end
        start = end


def _hour_after(instant: datetime) -> datetime:
    return instant.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)


def _midnight_after(instant: datetime, zone: ZoneInfo) -> datetime:
    tomorrow = instant.astimezone(zone).date() + timedelta(days=1)
    midnight = datetime.combine(tomorrow, time.min, tzinfo=zone)
    if midnight.astimezone(UTC) <= instant:  # already past: clocks are set back across midnight, and it occurs again
        midnight = midnight.replace(fold=1)
    return midnight.astimezone(UTC)
