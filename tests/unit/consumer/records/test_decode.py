"""Decoding never raises, and every rejected record has a reason."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from consumer.records.batch import DeadLetter
from consumer.records.decode import Decoder
from consumer.records.record_type import RecordType, Row
from consumer.topic_registry import METER_READINGS, VEHICLE_READINGS
from schemas.records.readings import (
    ID_PATTERN,
    InvalidReading,
    Reason,
    TimeLimits,
    parse_meter,
    parse_vehicle,
    valid_characters,
    valid_id,
)
from tests.support.records import meter, records, vehicle

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
LIMITS = TimeLimits.at(NOW, 400)
GOOD = meter(at=NOW)
IDS = st.from_regex(ID_PATTERN[:-1] + r"\Z")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["meterId", "kwhConsumedAc", "voltage", "timestamp", "vehicleId", "soc", "kwhDeliveredDc", "batteryTemp"]


def decode(*values: bytes | None, record_type: RecordType = METER_READINGS) -> tuple[list[Row], list[DeadLetter]]:
    topic = f"{record_type.name}-readings"
    decoded = Decoder(record_type).decode(records(values, topic=topic), LIMITS)
    return decoded.rows, decoded.dead_letters


def reason(value: bytes | None, record_type: RecordType = METER_READINGS) -> Reason:
    rows, letters = decode(value, record_type=record_type)
    assert rows == []
    assert letters[0].detail
    return letters[0].reason


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.none()
        | st.binary(max_size=200)
        | JSON.map(lambda value: json.dumps(value).encode())
        | st.dictionaries(st.sampled_from(FIELDS), JSON).map(lambda value: json.dumps(value).encode())
        | st.tuples(st.integers(0, len(GOOD)), st.binary(min_size=1, max_size=3)).map(
            lambda change: GOOD[: change[0]] + change[1] + GOOD[change[0] + 1 :]
        ),
        max_size=5,
    )
)
def test_every_record_becomes_a_row_or_a_dead_letter_with_a_reason(values: list[bytes | None]) -> None:
    for record_type, parse in ((METER_READINGS, parse_meter), (VEHICLE_READINGS, parse_vehicle)):
        rows, letters = decode(*values, record_type=record_type)
        assert len(rows) + len(letters) == len(values)
        assert all(letter.reason in Reason and letter.detail for letter in letters)
        for letter in letters:  # HTTP ingestion rejects the same values for the same reason
            with pytest.raises(InvalidReading) as rejected:
                parse(letter.record.value or b"", LIMITS)
            assert rejected.value.reason == letter.reason


@settings(max_examples=200, deadline=None)
@given(
    IDS,
    st.floats(0, 1000),
    st.floats(0, 1000),
    st.datetimes(LIMITS.oldest.replace(tzinfo=None), LIMITS.newest.replace(tzinfo=None), timezones=st.just(UTC)),
    st.timezones() | st.just(UTC),
)
def test_a_reading_within_the_limits_is_decoded_exactly(
    meter_id: str, kwh: float, volts: float, at: datetime, zone: Any
) -> None:
    local = at.astimezone(zone)
    if local.utcoffset() is None or local.utcoffset() % timedelta(minutes=1):  # type: ignore[operator]
        local = at
    rows, letters = decode(meter(meter_id, local, kwh, voltage=volts))
    assert letters == []
    assert rows == [(meter_id, at, kwh, volts)]


ANOTHER = meter("METER-002", at=NOW)
PIECES = st.sampled_from(
    [GOOD, ANOTHER, b"{", b"}", b" ", b"\n", b",", b'"x":', b"[", b"]", GOOD[:20], GOOD[20:], GOOD[:-1]]
)
VALUES = st.lists(PIECES, max_size=4).map(b"".join)


@settings(max_examples=1000, deadline=None)
@given(st.lists(VALUES | st.sampled_from([GOOD, ANOTHER]), max_size=6))
@example([GOOD + b" " + GOOD[:20], GOOD[20:]])  # two values that hold two objects, but not one each
@example([GOOD + b'\n{"x":{}', GOOD])
@example([GOOD + GOOD, b""])
@example([GOOD + b" " + GOOD, b" "])
@example([GOOD, b"\n" + ANOTHER])
def test_decoding_in_chunks_equals_decoding_one_by_one(values: list[bytes]) -> None:
    in_chunks = Decoder(METER_READINGS).decode(records(values), LIMITS)
    one_by_one = Decoder(replace(METER_READINGS, decode_lines=None)).decode(records(values), LIMITS)
    assert in_chunks.rows == one_by_one.rows
    assert [each.offset for each in in_chunks.records] == [each.offset for each in one_by_one.records]
    assert [(each.record.offset, each.reason) for each in in_chunks.dead_letters] == [
        (each.record.offset, each.reason) for each in one_by_one.dead_letters
    ]


def test_a_rejected_record_does_not_affect_the_others() -> None:
    good = [meter(f"METER-{number}", at=NOW) for number in range(1000)]
    rows, letters = decode(*good[:600], b"?", *good[600:])
    assert [row[0] for row in rows] == [f"METER-{number}" for number in range(1000)]
    assert [letter.record.offset for letter in letters] == [600]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"kwhConsumedAc": -0.001}, Reason.OUT_OF_RANGE),
        ({"kwhConsumedAc": 1000.001}, Reason.OUT_OF_RANGE),
        ({"voltage": 1001}, Reason.OUT_OF_RANGE),
        ({"voltage": True}, Reason.INVALID_TYPE),
        ({"voltage": "240"}, Reason.INVALID_TYPE),
        ({"voltage": None}, Reason.INVALID_TYPE),
        ({"meterId": ""}, Reason.INVALID_ID),
        ({"meterId": "x" * 65}, Reason.INVALID_ID),
        ({"meterId": "METER-001\n"}, Reason.INVALID_ID),
        ({"meterId": "METER\u0000"}, Reason.INVALID_ID),
        ({"meterId": "Zähler"}, Reason.INVALID_ID),
        ({"meterId": 7}, Reason.INVALID_TYPE),
        ({"timestamp": "2026-06-01T12:00:00"}, Reason.INVALID_TIMESTAMP),
        ({"timestamp": "yesterday"}, Reason.INVALID_TIMESTAMP),
        ({"timestamp": (LIMITS.oldest - timedelta(microseconds=1)).isoformat()}, Reason.TIMESTAMP_TOO_OLD),
        ({"timestamp": (LIMITS.newest + timedelta(microseconds=1)).isoformat()}, Reason.TIMESTAMP_IN_FUTURE),
    ],
)
def test_an_invalid_field_is_rejected_with_its_reason(changes: dict[str, Any], expected: Reason) -> None:
    assert reason(meter(at=NOW, **changes)) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"kwhConsumedAc": 0, "voltage": 1000},
        {"kwhConsumedAc": 1000, "voltage": 0},
        {"meterId": "x" * 64},
        {"timestamp": LIMITS.oldest.isoformat()},
        {"timestamp": LIMITS.newest.isoformat()},
        {"timestamp": "2026-06-01T12:00:00.123456789Z"},
        {"unknown": [1, {"deep": None}]},
    ],
)
def test_values_at_the_limits_are_accepted(changes: dict[str, Any]) -> None:
    rows, letters = decode(meter(at=NOW, **changes))
    assert len(rows) == 1
    assert letters == []


@pytest.mark.parametrize("soc", [-1, 100.5])
@pytest.mark.parametrize("temperature", [-61, 151])
def test_values_beyond_the_limits_of_a_vehicle_are_rejected(soc: float, temperature: float) -> None:
    assert reason(vehicle(at=NOW, soc=soc), VEHICLE_READINGS) == Reason.OUT_OF_RANGE
    assert reason(vehicle(at=NOW, batteryTemp=temperature), VEHICLE_READINGS) == Reason.OUT_OF_RANGE


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, Reason.EMPTY_VALUE),
        (b"", Reason.EMPTY_VALUE),
        (b"null", Reason.NOT_AN_OBJECT),
        (b"[" + GOOD + b"]", Reason.NOT_AN_OBJECT),
        (b"42", Reason.NOT_AN_OBJECT),
        (GOOD.replace(b"240.5", b"NaN"), Reason.INVALID_JSON),
        (GOOD.replace(b"240.5", b"Infinity"), Reason.INVALID_JSON),
        (GOOD.replace(b"240.5", b"-Infinity"), Reason.INVALID_JSON),
        (GOOD.replace(b"METER-001", b"\\ud800"), Reason.INVALID_JSON),
        (GOOD.replace(b"METER-001", b"\xed\xa0\x80"), Reason.INVALID_JSON),
        (b'{"meterId":' + b"[" * 100_000, Reason.INVALID_JSON),
        (b"[" * 100_000, Reason.NOT_AN_OBJECT),
        (GOOD[:-1], Reason.INVALID_JSON),
        (b"{}", Reason.MISSING_FIELD),
        (b"x" * (1 << 20), Reason.INVALID_JSON),
        (meter("x" * (1 << 19), NOW), Reason.INVALID_ID),
        (meter(at=NOW, comment="x" * (1 << 20)), Reason.TOO_LARGE),
        (b"x" * (1 << 20) + b"x", Reason.TOO_LARGE),
    ],
)
def test_a_value_that_is_not_a_reading_is_rejected_and_the_others_are_kept(
    value: bytes | None, expected: Reason
) -> None:
    rows, letters = decode(GOOD, value, GOOD)
    assert [letter.reason for letter in letters] == [expected]
    assert len(rows) == 2


@pytest.mark.parametrize("number", [b"1e400", b"-1e400", b"9" * 400])
def test_numbers_too_large_for_a_float_are_rejected(number: bytes) -> None:
    rows, letters = decode(GOOD.replace(b"240.5", number))
    assert rows == []
    assert letters[0].reason in {Reason.INVALID_JSON, Reason.OUT_OF_RANGE}


@pytest.mark.parametrize(
    "timestamp", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-12-31T23:59:60Z"]
)
def test_impossible_timestamps_are_rejected_without_an_exception(timestamp: str) -> None:
    assert reason(meter(timestamp=timestamp)) in {
        Reason.INVALID_TIMESTAMP,
        Reason.TIMESTAMP_TOO_OLD,
        Reason.TIMESTAMP_IN_FUTURE,
    }


@pytest.mark.parametrize("broken", ["decode", "explain_rejection"])
@pytest.mark.parametrize("error", [KeyError("meter"), ArithmeticError(), RuntimeError("\ud800 \0"), ValueError()])
def test_an_error_of_our_own_code_concerns_one_record_and_not_its_neighbours(broken: str, error: Exception) -> None:
    poison = b"not JSON" if broken == "explain_rejection" else meter("METER-13", NOW)
    original: Any = getattr(METER_READINGS, broken)

    def fails(value: bytes, *arguments: Any) -> Any:
        if value == poison:
            raise error
        return original(value, *arguments)

    def fails_for_a_chunk(lines: bytes) -> Any:
        raise error

    changes: dict[str, Any] = {broken: fails, "decode_lines": fails_for_a_chunk}
    record_type = replace(METER_READINGS, **changes)
    rows, letters = decode(GOOD, poison, GOOD, b"{}", record_type=record_type)
    assert len(rows) == 2
    unexplained = isinstance(error, ValueError) and broken == "decode"  # cannot be told from an error of the value
    expected = Reason.INVALID_JSON if unexplained else Reason.INTERNAL_ERROR
    assert [letter.reason for letter in letters] == [expected, Reason.MISSING_FIELD]


def test_the_largest_value_is_a_setting() -> None:
    value = meter(at=NOW, comment="x" * 2000)
    fetched = records([GOOD, value, GOOD])
    assert len(Decoder(METER_READINGS, len(value)).decode(fetched, LIMITS).rows) == 3
    assert len(Decoder(METER_READINGS, len(value) - 1).decode(fetched, LIMITS).rows) == 2


@given(
    st.lists(
        IDS | st.text(min_size=1, max_size=64) | st.sampled_from(["a\n", "\x00", "a b", "\u0130", "a_", "-", "a/"])
    )
)
def test_ids_of_valid_length_are_checked_together_as_one_by_one(ids: list[str]) -> None:
    assert valid_characters(ids) == all(map(valid_id, ids))
