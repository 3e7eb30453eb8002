"""The readings in archived months, as any program finds them: the files that the manifests name, read as plain Parquet."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from tests.faults.oracle.verdict import Verdict

COLUMNS: Final = {
    "meter_telemetry_history": ("meter", "meter_id", "kwh_consumed_ac", "voltage"),
    "vehicle_telemetry_history": ("vehicle", "vehicle_id", "kwh_delivered_dc", "soc", "battery_temp"),
    "meter_register_history": ("register", "meter_id", "kwh_register", "voltage"),
}


@dataclass(slots=True)
class Archived:
    """Rows of (device, instant, values) by type of reading, those derived from registers apart, and their years and months."""

    rows: dict[str, list[tuple[Any, ...]]] = field(default_factory=lambda: {"meter": [], "vehicle": [], "register": []})
    derived: list[tuple[Any, ...]] = field(default_factory=list)
    months: set[tuple[int, int]] = field(default_factory=set)


def read_archive(verdict: Verdict, directory: Path) -> Archived:
    """Every file of every month. A file that is not what its manifest says is a finding."""
    archived = Archived()
    for path in sorted(directory.glob("*/manifest.json")):
        listed = {each["file"]: each for each in json.loads(path.read_bytes())["files"]}
        found = {each.name for each in path.parent.glob("*.parquet")}
        verdict.require(f"{path} lists {sorted(listed)}, found {sorted(found)}", holds=set(listed) == found)
        for name in sorted(found & listed.keys()):
            file = path.with_name(name)
            same = hashlib.sha256(file.read_bytes()).hexdigest() == listed[name]["sha256"]
            verdict.require(f"{file} is not what its manifest says", holds=same)
            _read(archived, file, *COLUMNS[listed[name]["history"]])
    return archived


def _read(archived: Archived, file: Path, kind: str, device: str, *values: str) -> None:
    for row in pq.read_table(file).to_pylist():
        at = row["recorded_at"]
        found = row[device], at, *_numbers(row, values)
        archived.months.add((at.year, at.month))
        (archived.derived if row.get("derived") else archived.rows[kind]).append(found)


def _numbers(row: dict[str, Any], names: Sequence[str]) -> list[float]:
    return [float(row[name]) for name in names]
