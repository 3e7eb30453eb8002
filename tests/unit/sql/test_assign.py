"""The CSV of assignments: valid files, and errors that name the line."""

import codecs
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from consumer.records.decode import Decoder
from consumer.topic_registry import assignments
from schemas.records.readings import Reason, TimeLimits
from sql import __main__ as command_line
from sql.assign import Assignment, AssignmentError, read_assignments
from tests.support.records import records

LIMITS = TimeLimits.at(datetime(2026, 6, 1, tzinfo=UTC), 400)
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


@pytest.mark.parametrize(
    ("start", "end", "name"),
    [
        (JUNE, "9999-12-31T23:59:59Z", "valid_to"),
        (JUNE, "9999-12-31T23:59:59.999999Z", "valid_to"),
        (JUNE, "9999-12-31T23:59:59-05:00", "valid_to"),
        (JUNE, "9000-01-01T00:00:00.000001Z", "valid_to"),
        ("9999-12-31T23:59:59-05:00", "", "valid_from"),
        ("0001-01-01T00:00:00+14:00", "", "valid_from"),
        ("1969-12-31T23:59:59Z", "", "valid_from"),
    ],
)
def test_a_file_has_the_limits_of_the_topic_and_an_error_names_its_line(start: str, end: str, name: str) -> None:
    message = rf"^line 3: {name} .* must lie between 1970 and the year 9000"
    with pytest.raises(AssignmentError, match=message) as refused:
        read(f"VEH-1,METER-1,{JUNE},{JULY}", f"VEH-2,METER-2,{start},{end}")
    assert ("an open end is left out" in str(refused.value)) == (not start.startswith(("0001", "1969")))
    declared = {"validFrom": start} | ({"validTo": end} if end else {})
    record = msgspec.json.encode({"vehicleId": "VEH-2", "meterId": "METER-2"} | declared)
    (letter,) = Decoder(assignments("assignments")).decode(records([record], topic="assignments"), LIMITS).dead_letters
    assert letter.reason == Reason.OUT_OF_RANGE


def test_the_last_instant_of_the_topic_is_also_the_last_of_a_file() -> None:
    assert read(f"VEH-1,METER-1,{JUNE},9000-01-01T00:00:00Z")[0].valid_to == datetime(9000, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_file_and_standard_input_take_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mark: bytes, ending: str
) -> None:
    content = mark + ending.join([HEADER, f"VEH-1,METER-1,{JUNE},", ""]).encode()
    file = tmp_path / "assignments.csv"
    file.write_bytes(content)
    imported = []

    async def imports(_: object, found: list[Assignment], origin: str) -> None:
        imported.append((found, origin))

    monkeypatch.setattr(command_line, "_assign", imports)
    for argument, stdin in ((str(file), b""), ("-", content)):
        result = CliRunner().invoke(command_line.app, ["assign", argument], input=stdin)
        assert result.exit_code == 0, result.output
    (of_file, origin), (of_stdin, _) = imported
    assert of_file == of_stdin == [Assignment(2, "VEH-1", "METER-1", datetime(2026, 6, 1, tzinfo=UTC), None)]
    assert origin == "csv:assignments.csv"
