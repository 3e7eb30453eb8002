"""What the doctor makes of answers: each threshold from both sides."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sql.doctor import engine_findings as standing
from sql.doctor import server_findings as findings
from sql.doctor.server_findings import LEVELS, Finding, worst

NOW = datetime(2026, 11, 26, tzinfo=UTC)
DURABLE = {"fsync": True, "full_page_writes": True, "synchronous_commit": True, "checksum_failures": 0}
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
WAITS = {"name": "somebody", "pid": 7, "state": "idle in transaction", "seconds": 100.0}
USED = {"used": 10, "of_services": 3, "of_consumers": 4, "most": 100}


def months(*found: str) -> list[dict[str, Any]]:
    return [
        {"parent": parent, "month": date.fromisoformat(f"{month}-01")}
        for parent in ("meter_telemetry_history", "vehicle_telemetry_history")
        for month in found
    ]


@pytest.mark.parametrize(
    ("found", "level", "words"),
    [
        (findings.durability(DURABLE), "ok", "are on"),
        (findings.durability(DURABLE | {"fsync": False}), "fail", "off: fsync"),
        (findings.durability(DURABLE | {"checksum_failures": 2}), "fail", "2 pages"),
        (findings.cache({"hit": 10, "read": 10}), "ok", "too few"),
        (findings.cache({"hit": 995_000, "read": 5_000}), "ok", "99.50 %"),
        (findings.cache({"hit": 980_000, "read": 20_000}), "warn", "98.00 %"),
        (findings.indexes([], [], []), "ok", "all are valid"),
        (findings.indexes([{"index_name": "i", "bytes": 2**25}], [], []), "warn", "not used: i (33,554,432 bytes)"),
        (findings.indexes([], [{"table_name": "t", "seq_scan": 5000}], []), "warn", "from end to end: t (5,000 times)"),
        (findings.live_tables([TABLE]), "ok", "few"),
        (findings.live_tables([TABLE | {"dead": 30_000}]), "warn", "t has 30,000 dead rows for 20,000"),
        (findings.live_tables([TABLE | {"hot_updates": 40_000}]), "warn", "only 40,000 of 90,000"),
        (findings.replication([], [], None), "ok", "no replica"),
        (findings.replication([REPLICA], [SLOT], None), "ok", "1 replicas stream"),
        (findings.replication([REPLICA | {"seconds": 61.0}], [], None), "warn", "r is 61 s"),
        (findings.replication([REPLICA | {"bytes": 2**31}], [], None), "warn", "r is 0 s and 2,147,483,648 bytes"),
        (findings.replication([REPLICA | {"state": "catchup"}], [], None), "warn", "r is 0 s"),
        (findings.replication([], [SLOT | {"bytes": 2**31}], None), "warn", "slot s keeps"),
        (findings.replication([], [SLOT | {"wal_status": "lost"}], None), "fail", "lost their WAL: s"),
        (findings.replication([], [], 3.0), "ok", "this is a replica, 3 s behind"),
        (findings.replication([], [], 90.0), "warn", "90 s behind"),
        (findings.connections(USED, 20), "ok", "10 of 100"),
        (findings.connections(USED | {"used": 81}, 20), "warn", "81 of 100"),
        (findings.connections(USED | {"used": 96}, 20), "fail", "96 of 100"),
        (findings.transactions([], 0), "ok", "none"),
        (findings.transactions([WAITS], 0), "warn", "somebody (pid 7) for 100 s, idle in transaction"),
        (findings.transactions([WAITS | {"seconds": 4000.0}], 0), "fail", "4,000 s"),
        (findings.transactions([], 1), "fail", "1 prepared"),
        (findings.wraparound(YOUNG), "ok", "5 back"),
        (findings.wraparound(YOUNG | {"transactions": 310_000_000}), "warn", "310,000,000 back"),
        (findings.wraparound(YOUNG | {"multixacts": 1_500_000_000}), "fail", "VACUUM"[:0]),
        (findings.wraparound(YOUNG | {"autovacuum": False}), "fail", "autovacuum is off"),
        (findings.statistics([{"table_name": "t"}]), "warn", "never analysed: t"),
        (standing.late_hours({"marks": 1_000_001}), "warn", "more than a million"),
        (standing.maintenance(20, [], 60), "ok", "20 s ago"),
        (standing.maintenance(301, [], 60), "warn", "no round for 301 s"),
        (standing.maintenance(3601, [], 60), "fail", "no round for 3,601 s"),
        (standing.maintenance(3601, [], 3600), "ok", "3601 s ago"),
        (standing.partitions(months("2026-11", "2026-12"), NOW, 400), "ok", "from 2026-11 to 2026-12"),
        (standing.partitions(months("2026-11"), NOW, 400), "warn", "no partition for 2026-12"),
        (standing.partitions(months("2026-12"), NOW, 400), "fail", "no partition for 2026-11"),
        (standing.partitions([], NOW, 400), "fail", "in any history"),
        (standing.partitions(months("2025-08", "2026-11", "2026-12"), NOW, 400), "warn", "2025-08 is older"),
        (standing.partitions(months("2025-10", "2026-11", "2026-12"), NOW, 400), "ok", "from 2025-10"),
        (standing.ledger([], None), "ok", "--ledger"),
        (standing.ledger([{"topic": "t", "partition": 1, "consumer_group": "g"}], None), "fail", "t/1 of g"),
    ],
)
def test_a_threshold(found: Finding, level: str, words: str) -> None:
    assert (found.level, words in found.what) == (level, True), found
    assert found.level == "ok" or found.do, "who is warned is told what to do"


@given(st.lists(st.sampled_from(LEVELS)))
def test_the_whole_is_as_bad_as_its_worst_part(levels: list[Any]) -> None:
    whole = worst([Finding("c", level, "w") for level in levels])
    assert all(LEVELS.index(level) <= LEVELS.index(whole) for level in levels)
    assert whole in [*levels, "ok"]
