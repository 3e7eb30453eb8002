"""The timestamps of Kafka records."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.records.batch import BatchBuilder, Decoded
from consumer.records.record import plausible_timestamp, timestamp_as_instant
from consumer.topic_registry import METER_READINGS
from tests.support.records import meter, records

HOUR_MS = 3_600_000


@given(st.integers(-(2**63), 2**63 - 1))
def test_every_timestamp_is_an_instant_or_none(timestamp: int) -> None:
    instant = timestamp_as_instant(timestamp)
    if instant is None:
        year_2, year_10000 = -62_104_060_800_000, 253_402_300_800_000
        assert timestamp == -1 or not year_2 <= timestamp < year_10000
    else:
        assert (instant - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1) == timestamp


def test_no_timestamp_is_no_instant() -> None:
    assert timestamp_as_instant(None) is timestamp_as_instant(-1) is None


@pytest.mark.parametrize("unit", [1, 1_000_000, 1_000_000_000])
def test_seconds_microseconds_and_nanoseconds_tell_no_age(unit: int) -> None:
    assert plausible_timestamp(int(time.time() * unit)) is None


@given(st.lists(st.sampled_from(["none", "absurd", "future", "good"]), min_size=1, max_size=5))
def test_the_oldest_record_of_a_span_is_the_first_with_a_plausible_timestamp(kinds: list[str]) -> None:
    now = int(time.time() * 1000)
    builder, oldest = BatchBuilder(), None
    for offset, kind in enumerate(kinds):
        (record,) = records([meter()], offset=offset)
        record.timestamp = {"none": None, "absurd": -1, "future": now + HOUR_MS, "good": now - offset}[kind]
        oldest = oldest if oldest is not None or kind != "good" else now - offset
        builder.add(record.topic_partition, range(offset, offset + 1), [record], 0, METER_READINGS, Decoded([], [], []))
    assert [span.oldest for span in builder.build().spans.values()] == [oldest]
