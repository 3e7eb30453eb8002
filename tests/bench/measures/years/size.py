"""Bytes a reading of folded days and of archived months."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq

from sql.archive.manifest import ArchivedFile
from tests.bench.instruments.results import Result
from tests.bench.setup.time_lapse import Days
from tests.support.database import Database

READINGS_OF_GOAL: Final = 28_800_000 * 400  # of 20,000 devices in 400 days
# Of the partitions that have rows; an empty one takes a few pages for its indexes. `heap` includes the maps of its pages.
RELATION_BYTES: Final = """
SELECT sum(pg_total_relation_size(part))::bigint AS total, sum(pg_indexes_size(part))::bigint AS keys,
    sum(pg_total_relation_size(reltoastrelid))::bigint AS toast,
    coalesce(sum(pg_total_relation_size(part)) FILTER (WHERE side = 'meter_days'::regclass), 0)::bigint AS meters,
    coalesce(sum(pg_total_relation_size(part)) FILTER (WHERE side = 'vehicle_days'::regclass), 0)::bigint AS vehicles
FROM unnest(ARRAY['meter_days', 'vehicle_days', 'register_days']::regclass[]) AS side
CROSS JOIN LATERAL (
    SELECT tree.relid AS part, reltoastrelid FROM pg_partition_tree(side) AS tree JOIN pg_class ON oid = tree.relid WHERE isleaf
) AS partition
WHERE pg_relation_size(part) > 0"""
COLUMN_BYTES: Final = """
SELECT sum(readings) AS readings, sum(pg_column_size(recorded)) AS instants, sum(pg_column_size(ingested)) AS delays,
    sum(pg_column_size(kwh_delivered_dc) + pg_column_size(soc) + pg_column_size(battery_temp)) AS values,
    sum(pg_column_size(hourly_readings) + pg_column_size(hourly_kwh_delivered_dc) + pg_column_size(hourly_battery_temp_sum)
        + pg_column_size(hourly_battery_temp_max) + pg_column_size(hourly_soc_min) + pg_column_size(hourly_soc_max)) AS hour_sums
FROM vehicle_days
UNION ALL
SELECT sum(readings), sum(pg_column_size(recorded)), sum(pg_column_size(ingested)),
    sum(pg_column_size(kwh_consumed_ac) + pg_column_size(voltage)),
    sum(pg_column_size(hourly_readings) + pg_column_size(hourly_kwh_consumed_ac))
FROM meter_days"""


async def folded_bytes(database: Database) -> dict[str, float]:
    """Bytes a reading of all folded rows: `total`, and its parts. `meters` and `vehicles` are a reading of theirs."""
    sides = await database.fetch(COLUMN_BYTES)
    columns = {name: int(sum(side[name] for side in sides)) for name in sides[0].keys()}  # noqa: SIM118 - a record
    readings = columns.pop("readings")
    relations = dict((await database.fetch(RELATION_BYTES))[0])
    relations["heap"] = relations["total"] - relations["toast"] - relations["keys"]
    halves = {name: 2 * relations.pop(name) for name in ("meters", "vehicles")}  # as many readings on each side
    return per_reading(relations | halves | columns, readings)


def per_reading(sizes: Mapping[str, int], readings: int) -> dict[str, float]:
    return {name: round(size / readings, 3) for name, size in sizes.items()}


def folded_result(jittered: Mapping[str, float], exact: Mapping[str, float], days: Days) -> Result:
    return Result(
        measure="years_folded_bytes",
        value=jittered["total"],
        unit="bytes/reading",
        details={
            "exact": exact["total"],
            "400_days_of_20000_devices_gb": round(jittered["total"] * READINGS_OF_GOAL / 1e9, 1),
            "devices": 2 * days.vehicles,
            "days": days.count,
            "readings": days.readings,
            **{name: size for name, size in jittered.items() if name != "total"},
            **{f"exact_{name}": size for name, size in exact.items() if name != "total"},
        },
    )


def archived_bytes(directory: Path, files: Iterable[ArchivedFile]) -> dict[str, float]:
    """Bytes a reading of archived files: `total`, of each side, and of the columns of all."""
    files = list(files)
    sides = {file.history.split("_")[0] + "s": round(file.bytes / file.contents.readings, 3) for file in files}
    columns: dict[str, int] = {"instants": 0, "delays": 0}
    names = {"recorded_at": "instants", "ingested_after_ms": "delays"}
    for file in files:
        for name, size in _column_bytes(directory / file.file).items():
            if name in names:
                columns[names[name]] += size
    total = sum(file.bytes for file in files)
    return per_reading({"total": total} | columns, sum(file.contents.readings for file in files)) | sides


def _column_bytes(path: Path) -> dict[str, int]:
    """Compressed bytes of each column of a Parquet file."""
    metadata = pq.read_metadata(path)
    sizes: dict[str, int] = {}
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            column = metadata.row_group(group).column(number)
            sizes[column.path_in_schema] = sizes.get(column.path_in_schema, 0) + column.total_compressed_size
    return sizes


def archived_result(jittered: Mapping[str, float], exact: Mapping[str, float], details: Mapping[str, float]) -> Result:
    return Result(
        measure="years_archive_bytes",
        value=jittered["total"],
        unit="bytes/reading",
        details={
            "exact": exact["total"],
            **details,
            **{name: size for name, size in jittered.items() if name != "total"},
            **{f"exact_{name}": size for name, size in exact.items() if name != "total"},
        },
    )
