"""The hours that late readings have changed."""

from datetime import UTC, datetime, timedelta, timezone

from consumer.storage.late_hours import EVERY_DEVICE, late_hours
from consumer.storage.row_writers import Watermarks

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
THAT_DAY = Watermarks(late_before=NOON, folding_before=NOON - timedelta(hours=12))


def row(device: str, at: datetime) -> tuple[object, ...]:
    return (device, at, 1.0, 240.0)


def test_a_reading_on_time_changes_nothing() -> None:
    assert late_hours([row("A", NOON), row("A", NOON + timedelta(minutes=5))], THAT_DAY) == []


def test_each_device_and_hour_is_named_once() -> None:
    rows = [row("A", NOON - timedelta(minutes=back)) for back in (1, 2, 61, 0)] + [
        row("B", NOON - timedelta(minutes=3))
    ]
    eleven, ten = NOON - timedelta(hours=1), NOON - timedelta(hours=2)
    assert late_hours(rows, THAT_DAY) == [("A", ten), ("A", eleven), ("B", eleven)]


def test_hours_are_utc_hours_whatever_offset_the_device_sends() -> None:
    india = timezone(timedelta(hours=5, minutes=30))
    at = datetime(2026, 3, 1, 16, 15, tzinfo=india)  # 10:45 UTC
    assert late_hours([row("A", at)], THAT_DAY) == [("A", NOON - timedelta(hours=2))]


def test_a_backlog_of_many_devices_marks_whole_hours() -> None:
    rows = [row(f"M-{number}", NOON - timedelta(minutes=30)) for number in range(1001)]
    assert late_hours(rows, THAT_DAY) == [(EVERY_DEVICE, NOON - timedelta(hours=1))]
    assert len(late_hours(rows[:1000], THAT_DAY)) == 1000


def test_readings_of_folded_days_mark_nothing() -> None:
    folded = row("A", THAT_DAY.folding_before - timedelta(microseconds=1))
    assert late_hours([folded, row("A", THAT_DAY.folding_before)], THAT_DAY) == [("A", THAT_DAY.folding_before)]
