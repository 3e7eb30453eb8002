"""What an archive file is written from: a table of rows, or a period of a view over all levels of the history."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sql.archive.manifest import ENERGY_COLUMNS, Contents
from sql.queries import queries

TIMEOUT_SECONDS: Final = 24 * 3600.0  # for all readings of a month
DEVICES_PER_BATCH: Final = 16  # their month is sorted in memory by the database


@dataclass(frozen=True, slots=True)
class _Levels:
    """The view of a history, its column of the device's id, and the tables under the view."""

    view: str
    device: str
    tables: tuple[str, ...]


_LEVELS: Final = {
    "meter_telemetry_history": _Levels(
        "meter_readings", "meter_id", ("meter_telemetry_history", "meter_days", "meter_late_readings")
    ),
    "vehicle_telemetry_history": _Levels(
        "vehicle_readings", "vehicle_id", ("vehicle_telemetry_history", "vehicle_days", "vehicle_late_readings")
    ),
    "meter_register_history": _Levels(
        "register_readings", "meter_id", ("meter_register_history", "register_days", "register_late_readings")
    ),
}


@dataclass(frozen=True, slots=True)
class Source:
    """Readings of one history. `condition` selects those of `relation`; `parameters` are its arguments from $1 on."""

    history: str
    relation: str
    device: str
    tables: tuple[str, ...]
    condition: str = "true"
    parameters: tuple[datetime, ...] = ()
    whole_milliseconds: bool = True

    @classmethod
    def of_table(cls, history: str, table: str, *, whole_milliseconds: bool = True) -> "Source":
        """All rows of a table that has the columns of a history, such as a monthly partition, attached or not.

        `whole_milliseconds`: of `ingested_at`, as folded days and files of version 2 keep it; False: as files of version 1 do.
        """
        device = _LEVELS[history].device
        return cls(history, table, device, (table,), whole_milliseconds=whole_milliseconds)

    @classmethod
    def of_days(cls, history: str, opens: datetime, closes: datetime) -> "Source":
        """Readings of [opens, closes) from all levels in PostgreSQL: rows, folded days and late readings."""
        levels = _LEVELS[history]
        condition = (
            "recorded_at >= $1::timestamptz AND recorded_at < $2::timestamptz "
            "AND day >= ($1::timestamptz AT TIME ZONE 'UTC')::date AND day <= ($2::timestamptz AT TIME ZONE 'UTC')::date"
        )
        if closes <= opens:
            raise ValueError(f"{opens} is not before {closes}")
        return cls(history, levels.view, levels.device, levels.tables, condition, (opens, closes))

    def select(self, columns: list[str], *, hashed: bool = True) -> str:
        """The readings of the devices in the parameter after those of the condition, in the order of device and instant.

        Each row ends with its hash if `hashed`.
        """
        # COPY takes no identifiers as parameters; these come from the catalog and from this module.
        listed = ", ".join(f'"{column}"' for column in columns)
        row_hash = f", hash_record_extended(ROW({listed}), 0)" if hashed else ""
        return (
            f"SELECT {listed}{row_hash} FROM {self._readings(columns)} "  # noqa: S608
            f"WHERE {self.device} = ANY(${len(self.parameters) + 1}::text[]) ORDER BY {self.device}, recorded_at"
        )

    def sums(self, columns: list[str]) -> str:
        """One row: what is selected for all devices, as the fields of Contents."""
        listed = ", ".join(f'"{column}"' for column in columns)
        derived = "count(*) FILTER (WHERE derived)" if "derived" in columns else "0::bigint"
        return (
            f"SELECT count(*) AS readings, {derived} AS derived, min(recorded_at) AS first, max(recorded_at) AS last, "  # noqa: S608
            f'coalesce(sum(round("{ENERGY_COLUMNS[self.history]}" * 1e6)::bigint), 0) AS energy_mwh, '
            f"coalesce(sum(hash_record_extended(ROW({listed}), 0)), 0) AS fingerprint FROM {self._readings(columns)}"
        )

    def _readings(self, columns: list[str]) -> str:
        rounded = (
            {"ingested_at": "date_trunc('milliseconds', ingested_at) AS ingested_at"} if self.whole_milliseconds else {}
        )
        listed = ", ".join(rounded.get(each, f'"{each}"') for each in columns)
        return f"(SELECT {listed} FROM {self.relation} WHERE {self.condition}) AS reading"  # noqa: S608


async def columns_of(connection: Any, source: Source) -> list[tuple[str, str]]:
    """The columns of the source's history in order, with the short names of their types."""
    rows = queries.history_columns(connection, history=source.history)
    return [(str(row["name"]), str(row["kind"])) async for row in rows]


async def source_contents(connection: Any, source: Source, columns: list[str] | None = None) -> Contents:
    """What a source holds now, computed by the database. `columns` count for the fingerprint; None: those of the history."""
    columns = columns or [name for name, _ in await columns_of(connection, source)]
    row = await connection.fetchrow(source.sums(columns), *source.parameters, timeout=TIMEOUT_SECONDS)
    return Contents(
        readings=row["readings"],
        derived=row["derived"],
        energy_mwh=int(row["energy_mwh"]),
        first=row["first"],
        last=row["last"],
        fingerprint=int(row["fingerprint"]) % 2**64,
    )


async def device_batches(connection: Any, source: Source) -> AsyncIterator[list[str]]:
    """The ids of all devices in the tables of a source, in order; some may have no reading in it."""
    after = ""
    while True:
        rows = await connection.fetch(_devices_after(source), after, DEVICES_PER_BATCH)
        devices = [row["id"] for row in rows]
        if devices:
            yield devices
        if len(devices) < DEVICES_PER_BATCH:
            return
        after = devices[-1]


def _devices_after(source: Source) -> str:
    """Finds each device by one descent of the index of each table, without reading its other rows."""

    def next_device(after: str) -> str:
        id_ = source.device
        found = (f"(SELECT min({id_}) FROM {table} WHERE {id_} > {after})" for table in source.tables)  # noqa: S608
        return f"least({', '.join(found)})"

    return (
        f"WITH RECURSIVE device (id) AS (SELECT {next_device('$1::text')} "  # noqa: S608
        f"UNION ALL SELECT {next_device('device.id')} FROM device WHERE device.id IS NOT NULL) "
        "SELECT id FROM device WHERE id IS NOT NULL LIMIT $2"
    )
