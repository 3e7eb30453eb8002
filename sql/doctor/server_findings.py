"""Findings about the PostgreSQL server: query rows -> level, description and advice.

Pure functions: rows in, findings out. Each threshold is defined where it is used or at the top, with its reason.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final, Literal

Level = Literal["ok", "warn", "fail"]
LEVELS: Final[tuple[Level, ...]] = ("ok", "warn", "fail")
OLDEST_VERSION: Final = 15  # of PostgreSQL
NEWEST_VERSION: Final = 18
IDLE_SECONDS: Final = 60.0  # a transaction idle for longer has been forgotten
BUSY_SECONDS: Final = 600.0
LAG_SECONDS: Final = 60.0
SNAPSHOT_TRANSACTIONS: Final = 100_000  # about a quarter of an hour of batches at full speed
LAG_BYTES: Final = 1 << 30  # of WAL; while replay is paused, the lag in seconds keeps its last small value
Row = Any  # a record, or any mapping of names to values


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: what was found, and what to do about it (empty when nothing needs doing)."""

    check: str
    level: Level
    what: str
    do: str = ""


def worst(findings: Sequence[Finding]) -> Level:
    """The highest level of all findings; ok when there are none."""
    return max((each.level for each in findings), key=LEVELS.index, default="ok")


def server(build: Row, below: Sequence[Row]) -> Finding:
    """What the server lacks. `below`: settings below those for a fleet, which a small database can do without."""
    version = build["version"]
    if version < OLDEST_VERSION:
        what = f"PostgreSQL {version} is too old: {OLDEST_VERSION} to {NEWEST_VERSION} are supported"
        return Finding("server", "fail", what, "upgrade the server")
    if missing := build["missing_extensions"]:
        what = f"extensions that migrations need are not installed on the server: {', '.join(missing)}"
        return Finding("server", "fail", what, "install the server's contrib package, then run python -m sql migrate")
    lacking = [f"{row['name']} is {row['value']}, and {row['wanted']} for a fleet" for row in below]
    if methods := build["missing_compression"]:
        lacking.append(f"it is built without {' and '.join(methods)} (wal_compression)")
    newer = f", newer than {NEWEST_VERSION}, with which the engine was tried" if version > NEWEST_VERSION else ""
    what = f"PostgreSQL {version}{newer}; {'; '.join(lacking) or 'it lacks nothing'}"
    return Finding("server", "ok", what, "see docs/postgresql.md, Settings for a fleet" if below else "")


def durability(row: Row) -> Finding:
    """Settings without which a crash may lose data whose offsets are committed."""
    off = [name for name in ("fsync", "full_page_writes") if not row[name]]
    if off:
        return Finding(
            "durability",
            "fail",
            f"off: {', '.join(off)}; a crash may lose committed batches",
            "switch these settings on",
        )
    if row["checksum_failures"]:
        what = f"{row['checksum_failures']} pages failed checksum verification"
        return Finding("durability", "fail", what, "check the disk, and restore from a backup or a replica")
    return Finding("durability", "ok", "fsync and full_page_writes are on; no page failed its checksum")


def settings(rows: Sequence[Row], ours: Mapping[str, Set[str]]) -> Finding:
    """Settings of the database or a login that contradict those of our sessions.

    `ours` has every value that a session of ours sets, by the name of the setting.
    """
    found = [
        f"{row['name']}={row['value']} ({row['origin']})"
        for row in rows
        if row["name"].lower() in ours and row["value"].lower() not in ours[row["name"].lower()]
    ]
    if not found:
        return Finding("settings", "ok", "the database and the logins set nothing that our sessions set otherwise")
    return Finding(
        "settings",
        "warn",
        f"our sessions set otherwise: {', '.join(found)}",
        "ALTER DATABASE or ALTER ROLE ... RESET, unless meant for other programs",
    )


def cache(row: Row) -> Finding:
    """Index cache hit ratio: below 99 %, nearly every query waits for the disk."""
    reads = row["hit"] + row["read"]
    if reads < 100_000:  # noqa: PLR2004 - a server that has just started reads everything once
        return Finding("cache", "ok", f"only {reads:,} index pages were read so far: too few to judge")
    share = 100 * row["hit"] / reads
    what = f"{share:.2f} % of {reads:,} index pages were in memory; the goal is above 99 %"
    if share > 99:  # noqa: PLR2004
        return Finding("cache", "ok", what)
    return Finding("cache", "warn", what, "set shared_buffers to a quarter of the memory, or add memory")


def indexes(unused: Sequence[Row], missing: Sequence[Row], invalid: Sequence[Row]) -> Finding:
    """Indexes that are unused, missing or invalid."""
    found, do = [], []
    if invalid:
        found.append("not valid: " + ", ".join(row["index_name"] for row in invalid))
        do.append("maintenance drops those of monthly partitions; REINDEX the others")
    if unused:
        found.append("not used: " + ", ".join(f"{row['index_name']} ({row['bytes']:,} bytes)" for row in unused))
        do.append("drop them if no replica uses them either")
    if missing:
        found.append(
            "scanned sequentially: " + ", ".join(f"{row['table_name']} ({row['seq_scan']:,} times)" for row in missing)
        )
        do.append("find the statement (slow_statements) and add an index for it")
    if found:
        return Finding("indexes", "warn", "; ".join(found), "; ".join(do))
    return Finding("indexes", "ok", "all are valid, no large index is unused, no large table is scanned sequentially")


def slow_statements(extension: Row, rows: Sequence[Row]) -> Finding:
    """Statements that take more than a second each; unknown without pg_stat_statements."""
    if not extension["installed"]:
        load = "" if extension["loaded"] else "add pg_stat_statements to shared_preload_libraries, restart, and "
        do = f"to see them: {load}run CREATE EXTENSION pg_stat_statements in this database as a superuser"
        return Finding("slow_statements", "ok", "unknown: pg_stat_statements is not installed", do)
    if rows:
        what = "; ".join(f"{row['milliseconds']:,.0f} ms x {row['calls']:,}: {row['statement']}" for row in rows)
        return Finding(
            "slow_statements",
            "warn",
            what,
            "EXPLAIN (ANALYZE, BUFFERS) them; set SQL_LOG_SLOWER_THAN_MS to log when they run",
        )
    return Finding("slow_statements", "ok", "no statement with ten or more calls takes a second")


def live_tables(rows: Sequence[Row]) -> Finding:
    """Tables updated in place: dead rows bloat them, updates that are not heap-only bloat their indexes."""
    found = []
    for row in rows:
        if row["dead"] > max(10_000, row["live"]):
            found.append(f"{row['table_name']} has {row['dead']:,} dead rows for {row['live']:,} live ones")
        elif row["updates"] > 10_000 and row["hot_updates"] < row["updates"] / 2:  # noqa: PLR2004
            found.append(
                f"{row['table_name']}: only {row['hot_updates']:,} of {row['updates']:,} updates were heap-only"
            )
    if found:
        return Finding(
            "live_tables",
            "warn",
            "; ".join(found),
            "check that autovacuum keeps up and no transaction holds it back; VACUUM the tables",
        )
    return Finding("live_tables", "ok", "there are few dead rows, and updates are heap-only")


def replication(replicas: Sequence[Row], slots: Sequence[Row], standby_seconds: float | None) -> Finding:
    """Replication lag, and slots without a replica that fill the disk. `standby_seconds`: on a replica, its own lag."""
    if standby_seconds is not None:
        level: Level = "warn" if standby_seconds > LAG_SECONDS else "ok"
        return Finding(
            "replication",
            level,
            f"this is a replica, {standby_seconds:.0f} s behind",
            "check its disk and network" if level == "warn" else "",
        )
    lost = [row["name"] for row in slots if row["wal_status"] == "lost"]
    if lost:
        return Finding(
            "replication", "fail", f"slots that have lost their WAL: {', '.join(lost)}", "rebuild those replicas"
        )
    found = [
        f"slot {row['name']} is inactive and retains {row['bytes']:,} bytes of WAL"
        for row in slots
        if not row["active"] and row["bytes"] > LAG_BYTES
    ]
    found += [
        f"{row['name']} is {row['seconds'] or 0:.0f} s and {row['bytes'] or 0:,} bytes behind"
        for row in replicas
        if (row["seconds"] or 0) > LAG_SECONDS or (row["bytes"] or 0) > LAG_BYTES or row["state"] != "streaming"
    ]
    if found:
        return Finding(
            "replication", "warn", "; ".join(found), "check those replicas; drop slots that are no longer needed"
        )
    return Finding(
        "replication", "ok", f"replicas streaming: {len(replicas)}" if replicas else "no replica is connected"
    )


def connections(row: Row, pool_size: int) -> Finding:
    """Connections in use and free: at the limit, consumers cannot reconnect after an outage."""
    what = (
        f"{row['used']} of {row['most']} connections are in use ({row['of_services']} by read services, whose pools of "
        f"{pool_size} each may all be used at once, {row['of_consumers']} by consumers)"
    )
    do = "raise max_connections, lower DATABASE_POOL_SIZE, or put a connection pooler in front of the read services"
    share = row["used"] / row["most"]
    if share > 0.95:  # noqa: PLR2004
        return Finding("connections", "fail", what, do)
    return Finding("connections", "warn" if share > 0.8 else "ok", what, do if share > 0.8 else "")  # noqa: PLR2004


def transactions(rows: Sequence[Row], prepared: int, held: Sequence[Row] = ()) -> Finding:
    """Long transactions, which hold locks and keep dead rows; `held`: replicas and slots with old snapshots."""
    found = [f"{row['name']} (pid {row['pid']}) for {row['seconds']:,.0f} s, {row['state']}" for row in rows]
    found += [f"{prepared} prepared transactions are neither committed nor rolled back"] if prepared else []
    found += [f"{row['name']} holds a snapshot that is {row['transactions']:,} transactions old" for row in held]
    if not found:
        return Finding("transactions", "ok", "none is long")
    long = prepared or any(row["seconds"] > 3600 for row in rows)  # noqa: PLR2004
    return Finding(
        "transactions",
        "fail" if long else "warn",
        "; ".join(found),
        "end them: SELECT pg_terminate_backend(pid); ROLLBACK PREPARED for prepared ones; end the long queries of a replica",
    )


def wraparound(row: Row) -> Finding:
    """Transaction IDs run out after two billion; autovacuum should freeze old ones long before."""
    what = f"the oldest transaction ID is {row['transactions']:,} old, autovacuum should act at {row['transactions_wanted']:,}"
    do = "check that autovacuum runs and no transaction, slot or prepared transaction holds it back; VACUUM (FREEZE) by hand"
    if max(row["transactions"], row["multixacts"]) > 1_000_000_000:  # noqa: PLR2004
        return Finding("wraparound", "fail", what, do)
    if not row["autovacuum"]:
        return Finding("wraparound", "fail", "autovacuum is off", "switch it on")
    late = row["transactions"] > 1.5 * row["transactions_wanted"] or row["multixacts"] > 1.5 * row["multixacts_wanted"]
    return Finding("wraparound", "warn" if late else "ok", what, do if late else "")


def statistics(rows: Sequence[Row]) -> Finding:
    """Whether the planner has statistics of the partitioned tables."""
    if rows:
        what = "never analyzed: " + ", ".join(row["table_name"] for row in rows)
        return Finding(
            "statistics", "warn", what, "python -m sql maintain analyzes them every week; or ANALYZE them now"
        )
    return Finding("statistics", "ok", "every large partitioned table has been analyzed")
