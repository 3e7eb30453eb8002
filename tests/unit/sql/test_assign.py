"""The CSV of assignments: valid files, and errors that name the line."""

from datetime import UTC, datetime

import pytest

from sql.assign import Assignment, AssignmentError, read_assignments

HEADER = "vehicle_id,meter_id,valid_from,valid_to"
JUNE, JULY, AUGUST = (f"2026-0{month}-01T00:00:00Z" for month in (6, 7, 8))


def read(*lines: str) -> list[Assignment]:
    return read_assignments([HEADER, *lines])


def test_lines_become_assignments_and_a_missing_end_is_open() -> None:
    first, second = read(f"VEH-1,METER-1,{JUNE},{JULY}", "", f" VEH-1 , METER-2 ,{JULY},")
    assert first == Assignment(
        2, "VEH-1", "METER-1", datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)
    )
    assert second == Assignment(4, "VEH-1", "METER-2", datetime(2026, 7, 1, tzinfo=UTC), None)


def test_the_utc_offset_is_respected() -> None:
    assert read("VEH-1,METER-1,2026-06-01T02:00:00+02:00,")[0].valid_from == datetime(2026, 6, 1, tzinfo=UTC)


def test_a_file_with_only_a_header_has_no_assignments() -> None:
    assert read() == []


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([f"VEH 1,METER-1,{JUNE},"], "line 2: vehicle_id"),
        ([f"VEH-1,,{JUNE},"], "line 2: meter_id"),
        (["VEH-1,METER-1,2026-06-01T00:00:00,"], "line 2: valid_from"),
        (["VEH-1,METER-1,,"], "line 2: valid_from"),
        ([f"VEH-1,METER-1,{JUNE},never"], "line 2: valid_to"),
        ([f"VEH-1,METER-1,{JUNE},{JUNE}"], "line 2: valid_to must be later"),
        ([f"VEH-1,METER-1,{JULY},{JUNE}"], "line 2: valid_to must be later"),
        ([f"VEH-1,METER-1,{JUNE}"], "line 2: 4 columns"),
        ([f"VEH-1,METER-1,{JUNE},{AUGUST}", f"VEH-1,METER-2,{JULY},"], "lines 2 and 3 overlap for vehicle_id VEH-1"),
        ([f"VEH-1,METER-1,{JULY},", f"VEH-2,METER-1,{JUNE},"], "lines 3 and 2 overlap for meter_id METER-1"),
    ],
)
def test_an_error_names_its_line(lines: list[str], message: str) -> None:
    with pytest.raises(AssignmentError, match=message):
        read(*lines)


@pytest.mark.parametrize(
    "lines", [[], ["VEH-1,METER-1,2026-06-01T00:00:00Z,"], ["meter_id,vehicle_id,valid_from,valid_to"]]
)
def test_a_file_without_the_header_is_rejected(lines: list[str]) -> None:
    with pytest.raises(AssignmentError, match=HEADER):
        read_assignments(lines)
