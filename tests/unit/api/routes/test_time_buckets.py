"""Hours and days cover a time range without gaps, in every time zone."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.routes.time_buckets import time_buckets

ZONES = sorted(available_timezones() - {"localtime"})
HOUR = timedelta(hours=1)
INSTANTS = st.datetimes(datetime(1970, 1, 2), datetime(2037, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@settings(deadline=None)
@given(INSTANTS, st.sampled_from(ZONES))
def test_days_cover_everything_once_and_each_lies_on_one_date(opens: datetime, name: str) -> None:
    zone = ZoneInfo(name)
    days = list(islice(time_buckets(opens, opens + timedelta(days=400), "day", zone), 390))
    assert days[0][0] == opens
    assert all(before[1] == after[0] for before, after in pairwise(days))
    assert all(timedelta(0) < end - start < 48 * HOUR for start, end in days)
    for start, end in days[:-1]:
        last = end - timedelta(microseconds=1)
        assert start.astimezone(zone).date() == last.astimezone(zone).date()
        assert end.astimezone(zone).date() > last.astimezone(zone).date()


@given(INSTANTS, st.timedeltas(timedelta(0), timedelta(days=3)))
def test_all_hours_but_the_first_and_the_last_are_whole(opens: datetime, length: timedelta) -> None:
    hours = list(time_buckets(opens, opens + length, "hour", ZoneInfo("Asia/Kolkata")))
    assert sum((end - start for start, end in hours), timedelta(0)) == length
    assert all(end - start == HOUR and start.minute == 0 for start, end in hours[1:-1])


@pytest.mark.parametrize(
    ("name", "date", "lengths"),
    [
        ("Europe/Berlin", "2026-03-28", [24, 23, 24]),
        ("Europe/Berlin", "2026-10-24", [24, 25, 24]),
        ("Australia/Lord_Howe", "2026-04-04", [24, 24.5, 24]),
        ("America/Havana", "2026-03-07", [24, 23, 24]),
        ("Pacific/Apia", "2011-12-28", [24, 24, 24]),
    ],
    ids=["spring", "autumn", "half an hour", "no midnight", "a date that does not exist"],
)
def test_days_can_be_shorter_and_longer_than_24_hours(name: str, date: str, lengths: list[float]) -> None:
    zone = ZoneInfo(name)
    opens = datetime.fromisoformat(date).replace(tzinfo=zone)
    found = list(islice(time_buckets(opens, opens + timedelta(days=9), "day", zone), 3))
    assert [(end - start) / HOUR for start, end in found] == lengths


def test_a_midnight_that_occurs_twice_does_not_end_a_day_before_it_begins() -> None:
    newfoundland = ZoneInfo("America/St_Johns")  # on 7 November 2010 clocks went back from 0:01 to 23:01 the day before
    opens = datetime(2010, 11, 7, 2, 45, tzinfo=UTC)
    first, second = islice(time_buckets(opens, opens + timedelta(days=3), "day", newfoundland), 2)
    assert first == (opens, datetime(2010, 11, 7, 3, 30, tzinfo=UTC))
    assert second[1] - second[0] == timedelta(days=1)
