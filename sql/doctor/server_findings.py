"""What the answers of a server mean: for each question a level, what was found in words, and what to do about it.

Pure: rows in, findings out. The thresholds are here, each beside its reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

Level = Literal["ok", "warn", "fail"]
LEVELS: Final[tuple[Level, ...]] = ("ok", "warn", "fail")
IDLE_SECONDS: Final = 60.0  # a transaction in which nothing is asked is forgotten by then
BUSY_SECONDS: Final = 600.0
LAG_SECONDS: Final = 60.0
LAG_BYTES: Final = 1 << 30  # of WAL; a replica whose replay is paused keeps the small lag in seconds that it had before
Row = Any  # a record, or anything else with names


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `do` is empty when nothing needs doing."""

    check: str
    level: Level
    what: str
    do: str = ""


def worst(findings: Sequence[Finding]) -> Level:
    """The level of the whole."""
    return max((each.level for each in findings), key=LEVELS.index, default="ok")


def durability(row: Row) -> Finding:
    """Settings without which a crash may lose what Kafka will not send again."""
    off = [name for name in ("fsync", "full_page_writes", "synchronous_commit") if not row[name]]
    if off:
        return Finding(
            "durability", "fail", f"off: {', '.join(off)}; a crash may lose batches for good", "switch them on"
        )
    if row["checksum_failures"]:
        what = f"{row['checksum_failures']} pages did not have the checksum they were written with"
        return Finding("durability", "fail", what, "see to the disk, and restore from a backup or a replica")
    return Finding(
        "durability", "ok", "fsync, full_page_writes and synchronous_commit are on; no page was found broken"
    )


def cache(row: Row) -> Finding:
    """Index pages in memory: below 99 % nearly every question waits for the disk."""
    asked = row["hit"] + row["read"]
    if asked < 100_000:  # noqa: PLR2004 - a server that has just started reads everything once
        return Finding("cache", "ok", f"only {asked:,} index pages were asked for yet: too few to tell")
    share = 100 * row["hit"] / asked
    what = f"{share:.2f} % of {asked:,} index pages were in memory; the goal is above 99 %"
    if share > 99:  # noqa: PLR2004
        return Finding("cache", "ok", what)
    return Finding("cache", "warn", what, "give shared_buffers a quarter of the memory, or the machine more of it")


def indexes(unused: Sequence[Row], missing: Sequence[Row], invalid: Sequence[Row]) -> Finding:
    """Indexes that are not used, not there, or not whole."""
    said, do = [], []
    if invalid:
        said.append("not valid: " + ", ".join(row["index_name"] for row in invalid))
        do.append("those of months are removed by maintenance; REINDEX the others")
    if unused:
        said.append("not used: " + ", ".join(f"{row['index_name']} ({row['bytes']:,} bytes)" for row in unused))
        do.append("drop what is not used on any replica either")
    if missing:
        said.append(
            "read from end to end: " + ", ".join(f"{row['table_name']} ({row['seq_scan']:,} times)" for row in missing)
        )
        do.append("find the statement (slow_statements) and give it an index")
    if said:
        return Finding("indexes", "warn", "; ".join(said), "; ".join(do))
    return Finding("indexes", "ok", "all are valid, none is large and unused, no large table is read from end to end")


def slow_statements(known: Row, rows: Sequence[Row]) -> Finding:
    """Statements of more than a second each; without pg_stat_statements nobody knows them."""
    if not known["installed"]:
        load = "" if known["loaded"] else "put pg_stat_statements into shared_preload_libraries, restart, and "
        do = f"to know them: {load}let a superuser run CREATE EXTENSION pg_stat_statements in this database"
        return Finding("slow_statements", "ok", "not known: pg_stat_statements is not installed here", do)
    if rows:
        what = "; ".join(f"{row['milliseconds']:,.0f} ms x {row['calls']:,}: {row['statement']}" for row in rows)
        return Finding(
            "slow_statements",
            "warn",
            what,
            "EXPLAIN (ANALYZE, BUFFERS) them; SQL_LOG_SLOWER_THAN_MS says when they run",
        )
    return Finding("slow_statements", "ok", "no statement that ran ten times takes a second")


def live_tables(rows: Sequence[Row]) -> Finding:
    """Tables updated in place: dead rows make them grow, updates that are not heap-only make their indexes grow."""
    said = []
    for row in rows:
        if row["dead"] > max(10_000, row["live"]):
            said.append(f"{row['table_name']} has {row['dead']:,} dead rows for {row['live']:,} live ones")
        elif row["updates"] > 10_000 and row["hot_updates"] < row["updates"] / 2:  # noqa: PLR2004
            said.append(
                f"{row['table_name']}: only {row['hot_updates']:,} of {row['updates']:,} updates were heap-only"
            )
    if said:
        return Finding(
            "live_tables",
            "warn",
            "; ".join(said),
            "see that autovacuum keeps up and no transaction holds it back; VACUUM them",
        )
    return Finding("live_tables", "ok", "dead rows are few, updates heap-only")


def replication(replicas: Sequence[Row], slots: Sequence[Row], standby_seconds: float | None) -> Finding:
    """How far replicas are behind, and whether a forgotten one makes the disk fill."""
    if standby_seconds is not None:
        level: Level = "warn" if standby_seconds > LAG_SECONDS else "ok"
        return Finding(
            "replication",
            level,
            f"this is a replica, {standby_seconds:.0f} s behind",
            "see to its disk and network" if level == "warn" else "",
        )
    lost = [row["name"] for row in slots if row["wal_status"] == "lost"]
    if lost:
        return Finding(
            "replication", "fail", f"slots that have lost their WAL: {', '.join(lost)}", "build those replicas anew"
        )
    said = [
        f"slot {row['name']} keeps {row['bytes']:,} bytes of WAL for nobody"
        for row in slots
        if not row["active"] and row["bytes"] > LAG_BYTES
    ]
    said += [
        f"{row['name']} is {row['seconds'] or 0:.0f} s and {row['bytes'] or 0:,} bytes behind"
        for row in replicas
        if (row["seconds"] or 0) > LAG_SECONDS or (row["bytes"] or 0) > LAG_BYTES or row["state"] != "streaming"
    ]
    if said:
        return Finding(
            "replication", "warn", "; ".join(said), "see to those replicas; drop slots that nobody will use again"
        )
    return Finding("replication", "ok", f"{len(replicas)} replicas stream" if replicas else "no replica is connected")


def connections(row: Row, pool_size: int) -> Finding:
    """Connections in use and left: at the limit consumers cannot come back after an outage."""
    what = (
        f"{row['used']} of {row['most']} connections are in use ({row['of_services']} by read services, whose pools of "
        f"{pool_size} each may all be used at once, {row['of_consumers']} by consumers)"
    )
    do = "raise max_connections, lower DATABASE_POOL_SIZE, or put a pooler before the read services"
    share = row["used"] / row["most"]
    if share > 0.95:  # noqa: PLR2004
        return Finding("connections", "fail", what, do)
    return Finding("connections", "warn" if share > 0.8 else "ok", what, do if share > 0.8 else "")  # noqa: PLR2004


def transactions(rows: Sequence[Row], prepared: int) -> Finding:
    """Transactions that keep vacuum from removing anything, and hold locks."""
    said = [f"{row['name']} (pid {row['pid']}) for {row['seconds']:,.0f} s, {row['state']}" for row in rows]
    said += [f"{prepared} prepared transactions wait for their second phase"] if prepared else []
    if not said:
        return Finding("transactions", "ok", "none has been under way for long")
    long = prepared or any(row["seconds"] > 3600 for row in rows)  # noqa: PLR2004
    return Finding(
        "transactions", "fail" if long else "warn", "; ".join(said), "end them: SELECT pg_terminate_backend(pid)"
    )


def wraparound(row: Row) -> Finding:
    """Transaction numbers run out after two thousand million; autovacuum should begin long before."""
    what = f"the oldest transaction is {row['transactions']:,} back, autovacuum should act at {row['transactions_wanted']:,}"
    do = "see that autovacuum runs and no transaction, slot or prepared transaction holds it back; VACUUM (FREEZE) by hand"
    if max(row["transactions"], row["multixacts"]) > 1_000_000_000:  # noqa: PLR2004
        return Finding("wraparound", "fail", what, do)
    if not row["autovacuum"]:
        return Finding("wraparound", "fail", "autovacuum is off", "switch it on")
    late = row["transactions"] > 1.5 * row["transactions_wanted"] or row["multixacts"] > 1.5 * row["multixacts_wanted"]
    return Finding("wraparound", "warn" if late else "ok", what, do if late else "")


def statistics(rows: Sequence[Row]) -> Finding:
    """Whether the planner knows the partitioned tables."""
    if rows:
        what = "never analysed: " + ", ".join(row["table_name"] for row in rows)
        return Finding("statistics", "warn", what, "python -m sql maintain does it every week; or ANALYZE them")
    return Finding("statistics", "ok", "the planner knows every partitioned table that holds much")
