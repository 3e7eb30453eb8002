"""The measure `years`: which days it loads, what they need, and the readings of a time-lapse."""

from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.simulator.fleet import MINUTE_MS, Fleet
from deploy.simulator.timetable import timetable
from sql.partitions import midnight, month_after
from tests.bench.instruments.latency import require, seconds_of
from tests.bench.measures.years.amount import (
    ARCHIVED_DAYS,
    DAYS,
    bytes_needed,
    days_at_exact_cadence,
    days_with_jitter,
    require_disk,
)
from tests.bench.measures.years.answers import YEAR
from tests.bench.measures.years.drain_pairs import minutes_of_backlog
from tests.bench.measures.years.size import per_reading
from tests.bench.setup.harness import Harness
from tests.bench.setup.stored_day import DAY
from tests.bench.setup.time_lapse import RETENTION_DAYS, Days, readings_of
from tests.support.repository import ROOT

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
TODAY = st.datetimes(datetime(2024, 1, 1), datetime(2034, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - has a zone
GIB = 2**30


def harness(scale: float, tmp_path: Path = Path("/"), postgres: Any = None) -> Harness:
    stack: Any = SimpleNamespace(directory=tmp_path, postgres=postgres)
    template: Any = None
    return Harness(stack, template, tmp_path, 1, lambda _: None, scale, count(1))


@given(TODAY)
def test_the_days_can_be_archived_in_part_and_are_over_before_what_is_drained(now: datetime) -> None:
    days = days_with_jitter(harness(1), now)
    next_month = days.opens + ARCHIVED_DAYS * DAY
    assert next_month.day == 1
    assert days.closes.date() <= month_after(next_month.date())
    assert days.closes <= midnight(now) - 2 * DAY


@given(TODAY)
def test_the_year_that_is_asked_for_is_within_the_retention(now: datetime) -> None:
    assert days_with_jitter(harness(1), now).closes - YEAR >= midnight(now) - timedelta(days=RETENTION_DAYS + 1)


def test_scale_chooses_a_smaller_fleet_and_as_many_days() -> None:
    full, small = days_with_jitter(harness(1), NOW), days_with_jitter(harness(0.02), NOW)
    assert (full.count, full.vehicles, full.readings) == (DAYS, 10_000, 864_000_000)
    assert (small.count, small.vehicles, small.readings) == (DAYS, 200, 17_280_000)
    assert days_at_exact_cadence(small).jitter_ms == 0


def test_the_whole_fleet_needs_what_the_documentation_says() -> None:
    needed = round(bytes_needed(days_with_jitter(harness(1), NOW)) / GIB)
    assert f"All of them need {needed} GiB of disk" in (ROOT / "docs" / "benchmarks.md").read_text()


def test_a_small_disk_is_refused_with_a_scale_that_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    days = days_with_jitter(harness(1), NOW)
    small = bytes_needed(days) // 2
    monkeypatch.setattr("tests.bench.measures.years.amount.disk_usage", lambda _: SimpleNamespace(free=small))
    with pytest.raises(SystemExit, match=r"864,000,000 readings need .* SCALE=0\.5"):
        require_disk(harness(1, tmp_path, postgres=object()), days)
    require_disk(harness(1, tmp_path), days)  # servers of others: it is not known what they have


@given(st.integers(0, 500), st.integers(1, 30))
def test_every_minute_of_a_time_lapse_has_a_reading_of_each_device_within_it(jitter_ms: int, vehicles: int) -> None:
    table = timetable(Fleet(vehicles))
    for minute in (29_000_000, 29_000_001):
        records = list(readings_of(table, minute, Random(1), jitter_ms))
        assert sorted({record.key for record in records}) == sorted(
            key for each in table.vehicles for key in (each.vehicle_key, each.meter_key)
        )
        assert {record.at_ms // MINUTE_MS for record in records} == {minute}
        late = [
            record.at_ms % MINUTE_MS - vehicle.phase_ms
            for vehicle, record in zip(table.vehicles, records[::2], strict=True)
        ]
        assert all(0 <= each <= jitter_ms for each in late)


def test_readings_are_at_exact_cadence_without_jitter() -> None:
    table = timetable(Fleet(3))
    first, second = (list(readings_of(table, minute, Random(1), 0)) for minute in (29_000_000, 29_000_001))
    assert [late.at_ms - early.at_ms for early, late in zip(first, second, strict=True)] == [MINUTE_MS] * 6


def test_a_backlog_has_two_million_records_or_a_day() -> None:
    opens = midnight(NOW)
    assert minutes_of_backlog(Days(10_000, opens, 30)) == 100
    assert minutes_of_backlog(Days(200, opens, 30)) == 1440


def test_sizes_are_of_a_reading() -> None:
    assert per_reading({"total": 62_000, "keys": 700}, 10_000) == {"total": 6.2, "keys": 0.07}


def test_a_wrong_answer_is_no_figure() -> None:
    with pytest.raises(RuntimeError, match="the answer is wrong: nothing"):
        seconds_of(lambda: require(False, "nothing"), 3)
