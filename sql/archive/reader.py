"""Readings of one device from the files of archived months: row groups are skipped by statistics, columns by need.

All calls block and may run in several threads at once. Manifests and footers are kept in memory for the most recently read files.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import fsum
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sql.archive.columns import MICROSECONDS, decode, stored_names
from sql.archive.manifest import ArchivedFile, ArchiveError, read_manifest

FOOTERS_KEPT: Final = 64
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
DEVICES: Final = {
    "meter_telemetry_history": "meter_id",
    "vehicle_telemetry_history": "vehicle_id",
    "meter_register_history": "meter_id",
}
Period = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class _Span:
    """The least and the greatest value of a column in a row group."""

    min: Any
    max: Any


@dataclass(frozen=True, slots=True)
class _Footer:
    """The footer of a file, and of each row group the devices and instants; None where they are not known."""

    metadata: Any
    names: tuple[str, ...]
    devices: tuple[_Span | None, ...]
    instants: tuple[_Span | None, ...]

    def groups_of(self, device: str, opens: datetime, closes: datetime) -> list[int]:
        """The row groups that may hold readings of a device during [opens, closes)."""
        return [
            group
            for group, (ids, instants) in enumerate(zip(self.devices, self.instants, strict=True))
            if (ids is None or ids.min <= device <= ids.max)
            and (instants is None or (instants.min < closes and instants.max >= opens))
        ]


@dataclass(frozen=True, slots=True)
class Sums:
    """Energy (kWh), number of readings, and what else is known of a period. None: no reading, or the side does not measure it."""

    kwh: float = 0.0
    readings: int = 0
    battery_temp_sum: float | None = None
    battery_temp_max: float | None = None
    soc_min: float | None = None
    soc_max: float | None = None

    def plus(self, other: "Sums") -> "Sums":
        """The sums of two periods together."""
        pairs = (
            (fsum, self.battery_temp_sum, other.battery_temp_sum),
            (max, self.battery_temp_max, other.battery_temp_max),
            (min, self.soc_min, other.soc_min),
            (max, self.soc_max, other.soc_max),
        )
        merged = (_merged(merge, mine, its) for merge, mine, its in pairs)
        return Sums(self.kwh + other.kwh, self.readings + other.readings, *merged)


def _merged(merge: Any, *values: float | None) -> float | None:
    known = [each for each in values if each is not None]
    return float(merge(known)) if known else None


def readings_of(directories: Sequence[Path], history: str, device: str, period: Period, columns: Sequence[str]) -> Any:
    """The readings of a device during [opens, closes) in the archives of one month, as a pyarrow table in the order of instants.

    An instant that several directories hold is taken from the first of them. `columns` have no id.

    Raises:
        ArchiveError: a file is missing or damaged.
    """
    tables = [_readings_in(directory, history, device, period, columns) for directory in directories]
    found = pa.concat_tables(tables).sort_by("recorded_at")
    if len(directories) > 1 and found.num_rows:
        instants = pc.cast(found["recorded_at"], pa.int64()).combine_chunks()
        first = pc.not_equal(instants.slice(1), instants.slice(0, len(instants) - 1))
        found = found.filter(pa.concat_arrays([pa.array([True]), first]))
    return found


def sums_of(
    directories: Sequence[Path], history: str, energy: str, device: str, periods: Sequence[Period]
) -> list[Sums]:
    """The sums of a device over each period, from the archives of one month.

    Raises:
        ArchiveError: a file is missing or damaged.
    """
    battery = ["soc", "battery_temp"] if DEVICES[history] == "vehicle_id" else []
    whole = min(opens for opens, _ in periods), max(closes for _, closes in periods)
    rows = readings_of(directories, history, device, whole, ["recorded_at", energy, *battery])
    instants = pc.cast(rows["recorded_at"], pa.int64()).to_pylist()  # as datetimes they would take most of the time
    ends = [
        (bisect_left(instants, _microseconds(opens)), bisect_left(instants, _microseconds(closes)))
        for opens, closes in periods
    ]
    return [_sums(rows.slice(begin, max(0, end - begin)), energy, battery) for begin, end in ends]


def _microseconds(instant: datetime) -> int:
    return (instant - EPOCH) // MICROSECOND


def _sums(rows: Any, energy: str, battery: list[str]) -> Sums:
    if not rows.num_rows:
        return Sums()
    kwh = fsum(rows[energy].to_pylist())
    if not battery:
        return Sums(kwh, rows.num_rows)
    temperatures, soc = rows["battery_temp"].to_pylist(), pc.min_max(rows["soc"]).as_py()
    return Sums(kwh, rows.num_rows, fsum(temperatures), max(temperatures), soc["min"], soc["max"])


def _readings_in(directory: Path, history: str, device: str, period: Period, columns: Sequence[str]) -> Any:
    file = _file_of(directory, history)
    parts = [] if file is None else list(_matching(directory / file.file, device, DEVICES[history], period, columns))
    return pa.concat_tables(parts) if parts else pa.schema([(name, _type_of(name)) for name in columns]).empty_table()


def _type_of(name: str) -> Any:
    return MICROSECONDS if name.endswith("_at") else pa.float64()


def _matching(path: Path, device: str, id_column: str, period: Period, columns: Sequence[str]) -> Iterator[Any]:
    opens, closes = (pa.scalar(each, MICROSECONDS) for each in period)
    try:
        stat = path.stat()
        footer = _footer(path, stat.st_mtime_ns, stat.st_size, id_column)
        stored = list(columns) if set(columns) <= set(footer.names) else stored_names(columns)
        with pq.ParquetFile(path, metadata=footer.metadata, read_dictionary=[id_column]) as file:
            for group in footer.groups_of(device, *period):
                rows = file.read_row_group(group, columns=[id_column, *stored], use_threads=False)
                instants = rows["recorded_at"]
                during = pc.and_(pc.greater_equal(instants, opens), pc.less(instants, closes))
                chosen = rows.filter(pc.and_(_equal(rows[id_column], device), during)).select(stored)
                yield decode(chosen).select(list(columns))
    except (pa.ArrowException, OSError) as error:
        raise ArchiveError(f"{path} cannot be read: {error}. Fetch another copy of it") from error


def _equal(ids: Any, device: str) -> Any:
    """Which values of a column with dictionaries are this one, compared by their numbers in the dictionaries."""
    chunks = [pc.equal(chunk.indices, chunk.dictionary.index(device).cast(pa.int32())) for chunk in ids.chunks]
    return pa.chunked_array(chunks, pa.bool_())


def _file_of(directory: Path, history: str) -> ArchivedFile | None:
    try:
        changed = (directory / "manifest.json").stat().st_mtime_ns
    except OSError as error:
        raise ArchiveError(f"{directory} has no manifest: {error.strerror}") from error
    return next((each for each in _files(directory, changed) if each.history == history), None)


@lru_cache(maxsize=FOOTERS_KEPT)
def _files(directory: Path, changed: int) -> tuple[ArchivedFile, ...]:
    """The files of a manifest; `changed` is its time of modification, so that a newer one is read again."""
    return tuple(read_manifest(directory).manifest.files)


@lru_cache(maxsize=FOOTERS_KEPT)
def _footer(path: Path, changed: int, size: int, id_column: str) -> _Footer:
    """The footer of a file; time of modification and size are given so that another file is read again."""
    metadata = pq.read_metadata(path)
    names = tuple(metadata.schema.to_arrow_schema().names)
    positions = {metadata.schema.column(number).name: number for number in range(metadata.num_columns)}

    groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
    devices, instants = (
        tuple(_span(group.column(positions[column])) for group in groups) for column in (id_column, "recorded_at")
    )
    return _Footer(metadata, names, devices, instants)


def _span(chunk: Any) -> _Span | None:
    """The statistics as Python values, because pyarrow converts them anew at each access."""
    found = chunk.statistics if chunk.is_stats_set else None
    return _Span(found.min, found.max) if found is not None and found.has_min_max else None
