"""Decoding of the assignment topic: which records are accepted, and the reason for each rejection."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.records.batch import DeadLetter
from consumer.records.decode import Decoder
from consumer.records.record_type import Row
from consumer.topic_registry import assignments
from schemas.records.readings import Reason, TimeLimits
from tests.support.records import assignment, records

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
LIMITS = TimeLimits.at(NOW, 400)
LONG_AGO, FAR_AHEAD = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
INSTANTS = st.datetimes(LONG_AGO.replace(tzinfo=None), FAR_AHEAD.replace(tzinfo=None), timezones=st.just(UTC))
GOOD = assignment(start=NOW)


def decode(*values: bytes | None) -> tuple[list[Row], list[DeadLetter]]:
    decoded = Decoder(assignments("assignments")).decode(records(values, topic="assignments"), LIMITS)
    return decoded.rows, decoded.dead_letters


@given(INSTANTS, st.none() | INSTANTS)
def test_an_assignment_is_decoded_unchanged_unless_it_ends_before_it_begins(
    start: datetime, end: datetime | None
) -> None:
    rows, letters = decode(assignment("VEH-1", "METER-1", start, end))
    if end is None or end > start:
        assert rows == [("VEH-1", start, "METER-1", end)]
    else:
        assert [letter.reason for letter in letters] == [Reason.INVALID_INTERVAL]


def test_a_missing_end_is_an_open_end() -> None:
    value = b'{"vehicleId":"VEH-1","meterId":"METER-1","validFrom":"2026-06-01T14:00:00+02:00","unknown":1}'
    assert decode(value)[0] == [("VEH-1", NOW, "METER-1", None)]


@pytest.mark.parametrize(
    ("changes", "expected", "field"),
    [
        ({"validTo": NOW.isoformat()}, Reason.INVALID_INTERVAL, "validTo"),
        ({"vehicleId": "VEH 1"}, Reason.INVALID_ID, "vehicleId"),
        ({"vehicleId": ""}, Reason.INVALID_ID, "vehicleId"),
        ({"meterId": "METER\n"}, Reason.INVALID_ID, "meterId"),
        ({"meterId": None}, Reason.INVALID_TYPE, "meterId"),
        ({"validFrom": None}, Reason.INVALID_TYPE, "validFrom"),
        ({"validFrom": "2026-06-01T12:00:00"}, Reason.INVALID_TIMESTAMP, "validFrom"),
        ({"validTo": "2026-06-01T12:00:00"}, Reason.INVALID_TIMESTAMP, "validTo"),
        ({"validTo": "never"}, Reason.INVALID_TIMESTAMP, "validTo"),
        ({"validTo": 7}, Reason.INVALID_TYPE, "validTo"),
        ({"validFrom": (LONG_AGO - timedelta(seconds=1)).isoformat()}, Reason.OUT_OF_RANGE, "validFrom"),
        ({"validFrom": (FAR_AHEAD + timedelta(seconds=1)).isoformat()}, Reason.OUT_OF_RANGE, "validFrom"),
        ({"validTo": (FAR_AHEAD + timedelta(seconds=1)).isoformat()}, Reason.OUT_OF_RANGE, "validTo"),
        ({"validFrom": "0001-01-01T00:00:00+14:00"}, Reason.OUT_OF_RANGE, "validFrom"),
        ({"validTo": "9999-12-31T23:59:59-14:00"}, Reason.OUT_OF_RANGE, "validTo"),
    ],
)
def test_the_invalid_field_is_named_and_the_other_records_are_kept(
    changes: dict[str, Any], expected: Reason, field: str
) -> None:
    rows, letters = decode(GOOD, assignment(start=NOW, **changes), GOOD)
    assert [letter.reason for letter in letters] == [expected]
    assert field in letters[0].detail
    assert [row[0] for row in rows] == ["VEH-001", "VEH-001"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, Reason.EMPTY_VALUE),
        (b"", Reason.EMPTY_VALUE),
        (b"[]", Reason.NOT_AN_OBJECT),
        (b"{}", Reason.MISSING_FIELD),
        (GOOD[:-1], Reason.INVALID_JSON),
        (b'{"vehicleId":' + b"[" * 100_000, Reason.INVALID_JSON),
        (b'{"unknown":' + b"[" * 100_000 + b"]" * 100_000 + b"," + GOOD[1:], Reason.INVALID_JSON),
    ],
)
def test_a_value_that_is_not_an_assignment_is_rejected_with_its_reason(value: bytes | None, expected: Reason) -> None:
    rows, letters = decode(value)
    assert rows == []
    assert [letter.reason for letter in letters] == [expected]


@given(st.binary(max_size=200))
def test_decoding_never_raises(value: bytes) -> None:
    rows, letters = decode(value)
    assert len(rows) + len(letters) == 1
