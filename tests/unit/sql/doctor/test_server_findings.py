"""Findings of the doctor: each threshold from both sides."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sql.clocks import Clocks
from sql.doctor import engine_findings as engine
from sql.doctor import server_findings as server
from sql.doctor.checks import OUR_SETTINGS
from sql.doctor.server_findings import LEVELS, Finding, worst
from sql.partitions import HISTORY_OF, ROWS, Partition

NOW = datetime(2026, 11, 26, tzinfo=UTC)
BUILD = {"version": 18, "missing_extensions": [], "missing_compression": []}
BELOW = [{"name": "max_wal_size", "value": "1GB", "wanted": "16GB"}]
DURABLE = {"fsync": True, "full_page_writes": True, "checksum_failures": 0}
YOUNG: dict[str, Any] = {
    "transactions": 5,
    "multixacts": 5,
    "autovacuum": True,
    "transactions_wanted": 200_000_000,
    "multixacts_wanted": 400_000_000,
}
TABLE = {"table_name": "t", "live": 20_000, "dead": 100, "updates": 90_000, "hot_updates": 89_000}
SLOT = {"name": "s", "active": False, "wal_status": "reserved", "bytes": 100}
REPLICA = {"name": "r", "state": "streaming", "seconds": 0.1, "bytes": 10}
IDLE = {"name": "somebody", "pid": 7, "state": "idle in transaction", "seconds": 100.0}
LOGIN = {"origin": "the login reader"}
USED = {"used": 10, "of_services": 3, "of_consumers": 4, "most": 100}


def clocks(host: timedelta, newest_reading: timedelta) -> Clocks:
    """The database's clock says NOW, the host's and the devices' this much more."""
    return Clocks(NOW + host, NOW, NOW + newest_reading)


SECOND, DAY = timedelta(seconds=1), timedelta(days=1)


def tables(*months: str) -> list[Partition]:
    """Tables of all histories for some months."""
    opens = [datetime.fromisoformat(f"{month}-01T00:00:00+00:00") for month in months]
    return [
        Partition(parent, "p", first, (first + 32 * DAY).replace(day=1), attached=True, pending=False)
        for parent in (*ROWS, *HISTORY_OF)
        for first in opens
    ]


MONTH = tables("2026-11")
ALL_BUT_A_DAY = [
    *(table for table in MONTH if table.parent != ROWS[0]),
    *(
        replace(table, opens=table.opens + day * DAY, closes=table.opens + (day + 1) * DAY)
        for table in MONTH
        for day in range(30)
        if table.parent == ROWS[0] and day != 27
    ),
]


@pytest.mark.parametrize(
    ("found", "level", "words"),
    [
        (server.server(BUILD, []), "ok", "PostgreSQL 18; it lacks nothing"),
        (server.server(BUILD | {"version": 15}, []), "ok", "lacks nothing"),
        (server.server(BUILD | {"version": 14}, []), "fail", "PostgreSQL 14 is too old: 15 to 18 are supported"),
        (server.server(BUILD | {"version": 19}, []), "ok", "newer than 18"),
        (
            server.server(BUILD | {"missing_extensions": ["pg_trgm"]}, []),
            "fail",
            "not installed on the server: pg_trgm",
        ),
        (server.server(BUILD | {"missing_compression": ["lz4", "zstd"]}, []), "ok", "without lz4 and zstd"),
        (server.server(BUILD, BELOW), "ok", "max_wal_size is 1GB, and 16GB for a fleet"),
        (server.durability(DURABLE), "ok", "are on"),
        (server.durability(DURABLE | {"fsync": False}), "fail", "off: fsync"),
        (server.durability(DURABLE | {"checksum_failures": 2}), "fail", "2 pages"),
        (server.settings([], OUR_SETTINGS), "ok", "nothing"),
        (server.settings([LOGIN | {"name": "statement_timeout", "value": "5s"}], OUR_SETTINGS), "ok", "nothing"),
        (server.settings([LOGIN | {"name": "TimeZone", "value": "utc"}], OUR_SETTINGS), "ok", "nothing"),
        (server.settings([LOGIN | {"name": "work_mem", "value": "1MB"}], OUR_SETTINGS), "ok", "nothing"),
        (
            server.settings([LOGIN | {"name": "statement_timeout", "value": "7s"}], OUR_SETTINGS),
            "warn",
            "statement_timeout=7s (the login reader)",
        ),
        (server.cache({"hit": 10, "read": 10}), "ok", "too few"),
        (server.cache({"hit": 995_000, "read": 5_000}), "ok", "99.50 %"),
        (server.cache({"hit": 980_000, "read": 20_000}), "warn", "98.00 %"),
        (server.indexes([], [], []), "ok", "all are valid"),
        (server.indexes([{"index_name": "i", "bytes": 2**25}], [], []), "warn", "not used: i (33,554,432 bytes)"),
        (
            server.indexes([], [{"table_name": "t", "seq_scan": 5000}], []),
            "warn",
            "scanned sequentially: t (5,000 times)",
        ),
        (server.live_tables([TABLE]), "ok", "few"),
        (server.live_tables([TABLE | {"dead": 30_000}]), "warn", "t has 30,000 dead rows for 20,000"),
        (server.live_tables([TABLE | {"hot_updates": 40_000}]), "warn", "only 40,000 of 90,000"),
        (server.replication([], [], None), "ok", "no replica"),
        (server.replication([REPLICA], [SLOT], None), "ok", "replicas streaming: 1"),
        (server.replication([REPLICA | {"seconds": 61.0}], [], None), "warn", "r is 61 s"),
        (server.replication([REPLICA | {"bytes": 2**31}], [], None), "warn", "r is 0 s and 2,147,483,648 bytes"),
        (server.replication([REPLICA | {"state": "catchup"}], [], None), "warn", "r is 0 s"),
        (server.replication([], [SLOT | {"bytes": 2**31}], None), "warn", "slot s is inactive and retains"),
        (server.replication([], [SLOT | {"wal_status": "lost"}], None), "fail", "lost their WAL: s"),
        (server.replication([], [], 3.0), "ok", "this is a replica, 3 s behind"),
        (server.replication([], [], 90.0), "warn", "90 s behind"),
        (server.connections(USED, 20), "ok", "10 of 100"),
        (server.connections(USED | {"used": 81}, 20), "warn", "81 of 100"),
        (server.connections(USED | {"used": 96}, 20), "fail", "96 of 100"),
        (server.transactions([], 0), "ok", "none"),
        (server.transactions([IDLE], 0), "warn", "somebody (pid 7) for 100 s, idle in transaction"),
        (server.transactions([IDLE | {"seconds": 4000.0}], 0), "fail", "4,000 s"),
        (server.transactions([], 1), "fail", "1 prepared"),
        (
            server.transactions([], 0, [{"name": "slot s", "transactions": 123_456}]),
            "warn",
            "slot s holds a snapshot that is 123,456 transactions old",
        ),
        (engine.clocks(clocks(SECOND, -SECOND), -600), "ok", "agree"),
        (engine.clocks(Clocks(NOW, NOW, None), None), "ok", "agree"),
        (engine.clocks(clocks(-61 * SECOND, -SECOND), 0), "warn", "+61 s"),
        (engine.clocks(clocks(301 * SECOND, -SECOND), 0), "fail", "this host's 2026-11-26T00:05:01"),
        (engine.clocks(clocks(-301 * SECOND, -SECOND), 0), "fail", "this host's 2026-11-25T23:54:59"),
        (engine.clocks(clocks(SECOND, -7 * DAY), 0), "ok", "agree"),
        (engine.clocks(clocks(SECOND, -7 * DAY - SECOND), 0), "fail", "the newest reading is of 2026-11-18T23:59:59"),
        (engine.clocks(clocks(SECOND, 3600 * SECOND), 0), "ok", "agree"),
        (engine.clocks(clocks(SECOND, 3601 * SECOND), 0), "fail", "the newest reading is of 2026-11-26T01:00:01"),
        (engine.clocks(clocks(SECOND, -SECOND), 86_400), "warn", "86,400 s ahead of the clock"),
        (engine.maintenance(-3600, [], 60), "warn", "3,600 s in the future"),
        (server.wraparound(YOUNG), "ok", "5 old"),
        (server.wraparound(YOUNG | {"transactions": 310_000_000}), "warn", "310,000,000 old"),
        (server.wraparound(YOUNG | {"multixacts": 1_500_000_000}), "fail", "VACUUM"[:0]),
        (server.wraparound(YOUNG | {"autovacuum": False}), "fail", "autovacuum is off"),
        (server.statistics([{"table_name": "t"}]), "warn", "never analyzed: t"),
        (engine.late_hours({"marks": 1_000_001}), "warn", "more than a million"),
        (engine.maintenance(20, [], 60), "ok", "20 s ago"),
        (engine.maintenance(301, [], 60), "warn", "no round for 301 s"),
        (engine.maintenance(3601, [], 60), "fail", "no round for 3,601 s"),
        (engine.maintenance(3601, [], 3600), "ok", "3601 s ago"),
        (engine.partitions(tables("2026-11", "2026-12"), NOW, 400), "ok", "from 2026-11-01 to 2027-01-01"),
        (
            engine.partitions(tables("2026-11"), NOW, 400),
            "warn",
            "no partition for 2026-12-01 00:00 in meter_days, meter",
        ),
        (
            engine.partitions([*ALL_BUT_A_DAY, *tables("2026-12")], NOW, 400),
            "warn",
            "for 2026-11-28 00:00 in meter_tele",
        ),
        (engine.partitions(tables("2026-11", "2026-12"), NOW, 400, NOW - 3 * DAY), "ok", "from 2026-11-01"),
        (engine.partitions(tables("2026-11", "2026-12"), NOW, 400, NOW - 30 * DAY), "fail", "for 2026-10-27 00:00 in"),
        (
            engine.partitions(tables("2026-12"), NOW, 400),
            "fail",
            f"no partition for {NOW:%Y-%m-%d %H:%M} in meter_days, meter",
        ),
        (engine.partitions([], NOW, 400), "fail", "vehicle_telemetry_history"),
        (engine.partitions(tables("2025-08", "2026-11", "2026-12"), NOW, 400), "warn", "2025-08 is older"),
        (engine.partitions(tables("2025-10", "2026-11", "2026-12"), NOW, 400), "ok", "from 2025-10-01"),
        (engine.folding(None, 3), "ok", "not begun"),
        (engine.folding(4.9 * 86400, 3), "ok", "every day"),
        (engine.folding(5.1 * 86400, 3), "warn", "2 days are due"),
        (engine.ledger([], None), "ok", "--ledger"),
        (engine.ledger([{"topic": "t", "partition": 1, "consumer_group": "g"}], None), "fail", "t/1 of g"),
    ],
)
def test_each_threshold_separates_the_levels(found: Finding, level: str, words: str) -> None:
    assert (found.level, words in found.what) == (level, True), found
    assert found.level == "ok" or found.do, "every warning comes with advice"


@given(st.lists(st.sampled_from(LEVELS)))
def test_the_overall_level_is_that_of_the_worst_finding(levels: list[Any]) -> None:
    whole = worst([Finding("c", level, "w") for level in levels])
    assert all(LEVELS.index(level) <= LEVELS.index(whole) for level in levels)
    assert whole in [*levels, "ok"]
