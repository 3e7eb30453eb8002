"""The tables that hold a device's readings on each level, and the statements that copy them; names of tables are constants."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sql.queries import queries

ARRIVING: Final = "arriving_readings"  # a temporary table of the target


@dataclass(frozen=True, slots=True)
class History:
    """One kind of readings. `values` decide whether two readings of the same identity are the same reading."""

    rows: str
    days: str
    late: str
    view: str
    device: str
    values: tuple[str, ...]
    hourly_energy: str = "'{}'::double precision[]"
    derived: str = "false"
    derived_days: str = "0"
    side: str | None = None
    columns: tuple[str, ...] = ()
    day_columns: tuple[str, ...] = ()

    @property
    def listed(self) -> str:
        return ", ".join(self.columns)

    def day_rows(self) -> str:
        """Folded days of devices before a day, each with its fingerprint."""
        return f"""
            SELECT {self.device} AS device, day, readings, readings - {self.derived_days} AS recorded,
                coalesce((SELECT sum(round(kwh * 1e6)) FROM unnest({self.hourly_energy}) AS kwh), 0)::bigint AS energy_mwh,
                hash_record_extended(ROW({", ".join(self.day_columns)}), 0) AS fingerprint
            FROM {self.days} WHERE {self.device} = ANY($1::text[]) AND day < $2"""  # noqa: S608

    def late_days(self) -> str:
        """The days of which devices have late readings."""
        return f"""
            SELECT DISTINCT {self.device} AS device, (recorded_at AT TIME ZONE 'UTC')::date AS day
            FROM {self.late} WHERE {self.device} = ANY($1::text[])"""  # noqa: S608

    def wanted_days(self) -> str:
        """The folded rows of the given devices and days."""
        listed = ", ".join(f"folded.{each}" for each in self.day_columns)
        return f"""
            SELECT {listed} FROM unnest($1::text[], $2::date[]) AS wanted (device, day)
            JOIN {self.days} AS folded ON folded.{self.device} = wanted.device AND folded.day = wanted.day"""  # noqa: S608

    def readings(self) -> str:
        """Readings of devices ($1) from an instant ($2) and its day ($3) on, and those of the given devices and days ($4, $5)."""
        return f"""
            SELECT {self.listed} FROM {self.view}
            WHERE {self.device} = ANY($1::text[]) AND recorded_at >= $2::timestamptz AND day >= $3::date
            UNION ALL
            SELECT {", ".join(f"reading.{each}" for each in self.columns)}
            FROM unnest($4::text[], $5::date[]) AS wanted (device, day)
            CROSS JOIN LATERAL (
                SELECT * FROM {self.view} AS reading
                WHERE reading.{self.device} = wanted.device AND reading.day = wanted.day
                OFFSET 0 -- decodes these days only
            ) AS reading"""  # noqa: S608

    def sums(self, readings: str) -> str:
        """Number, energy and fingerprint of readings; `recorded` is the number of those that a device has sent."""
        return f"""
            SELECT count(*) AS readings, count(*) FILTER (WHERE {self.derived} IS NOT TRUE) AS recorded,
                coalesce(sum(round({self.values[0]} * 1e6)), 0)::bigint AS energy_mwh,
                coalesce(sum(hash_record_extended(ROW({self.listed}), 0)), 0) AS fingerprint
            FROM ({readings}) AS reading"""  # noqa: S608

    def _stored(self, condition: str) -> str:
        """Readings of the target that have the identity of an arriving one."""
        return f"""
            SELECT reading.*
            FROM (
                SELECT {self.device}, (recorded_at AT TIME ZONE 'UTC')::date AS day, array_agg(recorded_at) AS instants
                FROM {ARRIVING} WHERE {condition} GROUP BY 1, 2
            ) AS wanted
            CROSS JOIN LATERAL (
                SELECT {self.device}, recorded_at, {", ".join(self.values)} FROM {self.view} AS reading
                WHERE reading.{self.device} = wanted.{self.device} AND reading.day = wanted.day
                    AND reading.recorded_at = ANY(wanted.instants)
                OFFSET 0
            ) AS reading"""  # noqa: S608

    def insert_rows(self) -> str:
        """Stores the arriving readings from $1 on, where their identity is not taken."""
        return f"""
            WITH stored AS (
                INSERT INTO {self.rows} ({self.listed}) SELECT {self.listed} FROM {ARRIVING}
                WHERE recorded_at >= $1 ORDER BY {self.device}, recorded_at ON CONFLICT DO NOTHING
                RETURNING {self.derived} IS NOT TRUE AS recorded
            ) SELECT count(*) FILTER (WHERE recorded) FROM stored"""  # noqa: S608

    def insert_late(self) -> str:
        """Stores the arriving readings before $1, whose days are folded, as late readings, unless they are stored."""
        listed = ", ".join(f"arriving.{each}" for each in self.columns)
        return f"""
            WITH known AS MATERIALIZED ({self._stored("recorded_at < $1")}), stored AS (
                INSERT INTO {self.late} ({self.listed})
                SELECT {listed} FROM {ARRIVING} AS arriving LEFT JOIN known USING ({self.device}, recorded_at)
                WHERE arriving.recorded_at < $1 AND known.{self.device} IS NULL
                RETURNING {self.derived} IS NOT TRUE AS recorded
            ) SELECT count(*) FILTER (WHERE recorded) FROM stored"""  # noqa: S608

    def differences(self) -> str:
        """Arriving readings that are not stored now; `is_other`: a reading with other values is. Derived ones may have others."""
        same = " AND ".join(f"known.{each} = arriving.{each}" for each in self.values)
        return f"""
            WITH known AS MATERIALIZED ({self._stored("true")})
            SELECT arriving.{self.device} AS device, arriving.recorded_at, known.{self.device} IS NOT NULL AS is_other
            FROM {ARRIVING} AS arriving LEFT JOIN known USING ({self.device}, recorded_at)
            WHERE known.{self.device} IS NULL OR NOT ({same}) AND {self.derived} IS NOT TRUE
            ORDER BY 1, 2"""  # noqa: S608

    def mark_late(self) -> str:
        """Marks the hours of arriving rows between two watermarks, as a late reading does."""
        return f"""
            INSERT INTO late_hours (side, device_id, hour)
            SELECT DISTINCT $1, {self.device}, date_trunc('hour', recorded_at, 'UTC') FROM {ARRIVING}
            WHERE recorded_at >= $2 AND recorded_at < $3"""  # noqa: S608

    def spans(self) -> str:
        """Of devices that the target knew before: the period in which arriving readings and its own may affect each other."""
        return f"""
            SELECT known.device, coalesce(arriving.earliest, own.earliest) AS earliest,
                coalesce(arriving.latest, own.earliest) AS latest
            FROM unnest($1::text[]) AS known (device)
            CROSS JOIN LATERAL (
                SELECT min(recorded_at) AS earliest, max(recorded_at) AS latest
                FROM {ARRIVING} WHERE {self.device} = known.device
            ) AS arriving
            CROSS JOIN LATERAL (
                SELECT least(
                    (SELECT min(recorded_at) FROM {self.rows} WHERE {self.device} = known.device),
                    (SELECT min(recorded_at) FROM {self.late} WHERE {self.device} = known.device)
                ) AS earliest
            ) AS own
            WHERE coalesce(arriving.earliest, own.earliest) IS NOT NULL"""  # noqa: S608

    def drop_days(self) -> str:
        """Deletes the folded rows of the given devices and days."""
        return f"""
            DELETE FROM {self.days} AS folded USING unnest($1::text[], $2::date[]) AS wanted (device, day)
            WHERE folded.{self.device} = wanted.device AND folded.day = wanted.day"""  # noqa: S608

    def unknown(self) -> str:
        """Those of the given devices that have no live status."""
        table = "vehicle_live_status" if self.device == "vehicle_id" else "meter_live_status"
        return f"""
            SELECT device FROM unnest($1::text[]) AS device
            WHERE NOT EXISTS (SELECT FROM {table} WHERE {self.device} = device)"""  # noqa: S608

    def deletions(self) -> Iterable[str]:
        for table in (self.rows, self.days, self.late):
            yield f"DELETE FROM {table} WHERE {self.device} = ANY($1::text[])"  # noqa: S608

    def left(self) -> str:
        """Those of the given devices that have a reading on any level."""
        exists = " OR ".join(
            f"EXISTS (SELECT FROM {table} WHERE {self.device} = device)" for table in (self.rows, self.days, self.late)
        )
        return f"SELECT device FROM unnest($1::text[]) AS device WHERE {exists}"  # noqa: S608


_KINDS: Final = (
    History(
        "meter_telemetry_history", "meter_days", "meter_late_readings", "meter_readings", "meter_id",
        ("kwh_consumed_ac", "voltage"), "hourly_kwh_consumed_ac", "derived",
        "cardinality(array_positions(coalesce(derived, '{}'), true))", "meter",
    ),
    History(
        "vehicle_telemetry_history", "vehicle_days", "vehicle_late_readings", "vehicle_readings", "vehicle_id",
        ("kwh_delivered_dc", "soc", "battery_temp"), "hourly_kwh_delivered_dc", side="vehicle",
    ),
    History(
        "meter_register_history", "register_days", "register_late_readings", "register_readings", "meter_id",
        ("kwh_register", "voltage"),
    ),
)  # fmt: skip


async def histories(connection: Any) -> Sequence[History]:
    """All kinds of readings, with the columns of their tables."""
    found = []
    for kind in _KINDS:
        columns = [row["name"] async for row in queries.history_columns(connection, history=kind.rows)]
        day_columns = [row["name"] async for row in queries.history_columns(connection, history=kind.days)]
        found.append(replace(kind, columns=tuple(columns), day_columns=tuple(day_columns)))
    return found
