"""A stretch of time -> its hours or days. Pure."""

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

Period = tuple[datetime, datetime]


def buckets(opens: datetime, closes: datetime, size: Literal["hour", "day"], zone: ZoneInfo) -> Iterator[Period]:
    """The hours (of UTC) or days (of `zone`) of `[opens, closes)`, as needed; the first and the last are cut there.

    A day runs from midnight to midnight, so it may have 23 or 25 hours. Where a midnight does not exist, the day begins when
    clocks have been put forward; where it comes twice, the first one counts.
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
    if (
        midnight.astimezone(UTC) <= instant
    ):  # it has been already: clocks are set back across it, and it comes once more
        midnight = midnight.replace(fold=1)
    return midnight.astimezone(UTC)
