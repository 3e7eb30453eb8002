"""The rules of the oracle, which are written from the contract and share nothing with the engine."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.faults.oracle.assignments import Assignment, Assignments
from tests.faults.oracle.decode import (
    Declaration,
    Reading,
    Refused,
    Window,
    decode_declaration,
    decode_meter,
    decode_vehicle,
)
from tests.faults.oracle.registers import intervals
from tests.faults.oracle.verdict import Verdict

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
WINDOW = Window.at(NOON, timedelta(days=400))
METER = {"meterId": "METER-1", "kwhConsumedAc": 1, "voltage": 230.5, "timestamp": "2026-11-28T12:00:00Z"}


def at(minute: int) -> datetime:
    return NOON + timedelta(minutes=minute)


def value(**changes: Any) -> bytes:
    return json.dumps(METER | changes).encode()


@pytest.mark.parametrize(
    "timestamp",
    [
        "2026-11-28T12:00:00Z",
        "2026-11-28 13:00:00+01:00",
        "2026-11-28t07:30:00.000-0430",
        "2026-11-28T12:00:00.0+00:00",
    ],
)
def test_a_reading_is_decoded_whatever_the_form_of_its_time(timestamp: str) -> None:
    assert decode_meter(value(timestamp=timestamp, firmware=[1]), WINDOW) == Reading("METER-1", NOON, (1.0, 230.5))


@pytest.mark.parametrize(
    ("record", "reasons"),
    [
        (None, {"empty_value"}),
        (b"", {"empty_value"}),
        (b"\xff", {"invalid_json"}),
        (b"[" * 100_000, {"invalid_json"}),
        (b"[]", {"not_an_object"}),
        (b"{}", {"missing_field"}),
        (value(voltage=True), {"invalid_type"}),
        (value(voltage=float("inf")), {"invalid_json"}),
        (value(voltage=1000.1, kwhConsumedAc="1"), {"out_of_range", "invalid_type"}),
        (value(meterId="a b"), {"invalid_id"}),
        (value(meterId="x" * 65), {"invalid_id"}),
        (value(timestamp="2026-11-28T12:00:00"), {"invalid_timestamp"}),
        (value(timestamp="2026-02-30T12:00:00Z"), {"invalid_timestamp"}),
        (value(timestamp="2026-11-28T12:05:01Z"), {"timestamp_in_future"}),
        (value(timestamp="2025-01-01T00:00:00Z"), {"timestamp_too_old"}),
    ],
)
def test_anything_else_is_refused_with_the_reasons_that_apply(record: bytes | None, reasons: set[str]) -> None:
    assert decode_meter(record, WINDOW) == Refused(frozenset(reasons))


def test_the_values_of_a_vehicle_are_in_the_order_of_its_columns() -> None:
    record = {
        "vehicleId": "V",
        "soc": 80,
        "batteryTemp": -60,
        "kwhDeliveredDc": 0.5,
        "timestamp": "2026-11-28T12:00:00Z",
    }
    assert decode_vehicle(json.dumps(record).encode(), WINDOW) == Reading("V", NOON, (0.5, 80.0, -60.0))


def test_a_declaration_ends_after_it_begins_or_not_at_all() -> None:
    record = {"vehicleId": "V", "meterId": "M", "validFrom": "2026-11-28T12:00:00Z", "validTo": None}
    assert decode_declaration(json.dumps(record).encode()) == Declaration("V", "M", NOON, None)
    record["validTo"] = record["validFrom"]
    assert decode_declaration(json.dumps(record).encode()) == Refused(frozenset({"invalid_interval"}))


def test_registers_become_intervals() -> None:
    registers = [(0, 100.0), (1, 100.5), (2, 100.0), (3, 100.75), (4, 0.25), (5, 90_000.0), (6, 90_001.0)]
    kwh = [0, 0.5, 0, 0.25, 0.25, 0, 1]  # base, energy, jitter, energy, reset, another meter, energy
    shuffled = [(at(minute), register) for minute, register in reversed(registers)]
    assert list(intervals(shuffled)) == [(at(minute), each) for minute, each in enumerate(kwh)]


def test_declarations_in_their_order_say_which_meter_was_whose() -> None:
    assignments = Assignments()
    declared = [
        (Declaration("A", "1", at(0), None), "written"),
        (Declaration("A", "1", at(0), None), "duplicate"),
        (Declaration("B", "1", at(10), at(20)), "written"),  # ends the first
        (Declaration("C", "1", at(15), at(30)), "overlap"),
        (Declaration("C", "2", at(15), at(30)), "written"),
        (Declaration("C", "3", at(15), at(25)), "written"),  # a correction
        (Declaration("A", "9", at(-5), None), "written"),  # ends where the first begins
    ]
    assert [assignments.declare(each) for each, _ in declared] == [outcome for _, outcome in declared]
    assert assignments.accepted == 5
    assert set(assignments.valid()) == {
        Assignment("A", "9", at(-5), at(0)),
        Assignment("A", "1", at(0), at(10)),
        Assignment("B", "1", at(10), at(20)),
        Assignment("C", "3", at(15), at(25)),
    }


def test_a_verdict_counts_what_is_missing_and_what_is_too_much() -> None:
    verdict = Verdict()
    verdict.compare("letters", "aab", "abbc")
    assert (verdict.lost, verdict.duplicated) == (1, 2)
    verdict.compare("nothing", "", "")
    verdict.require("true", holds=True)
    assert len(verdict.findings) == 1
