"""Findings about the engine: ledger, topics, dead letters, partitions, folding, maintenance, late hours, alerts.

Pure functions: rows in, findings out.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sql.clocks import Clocks, disagreement
from sql.doctor.server_findings import Finding, Level, Row
from sql.partitions import EXPIRY_MARGIN, HISTORY_OF, ROWS, Partition

# Maintenance drops months once an hour; two days late means that it fails.
DROP_GRACE = timedelta(days=2)
PARTITIONS_AHEAD = timedelta(days=7)  # maintenance makes them two months ahead
CLOCK_OFFSET = timedelta(minutes=1)  # by which clocks of hosts with NTP never differ


def partitions(
    tables: Sequence[Partition], now: datetime, retention_days: int, rows_from: datetime | None = None
) -> Finding:
    """Partitions without a gap until a week from now, and months of folded history that should have been dropped.

    `rows_from` is the first instant that is not folded; None: folding has not begun.
    """
    tables = [table for table in tables if table.is_attached]
    do = "run python -m sql maintain, and see its log for the tasks partitions and retention"
    since = min(now, rows_from or now)
    gaps = {parent: _first_gap(tables, parent, since) for parent in (*ROWS, *HISTORY_OF)}
    first = min(gaps.values())
    if first <= now + PARTITIONS_AHEAD:
        lacking = ", ".join(sorted(parent for parent, gap in gaps.items() if gap == first))
        level: Level = "fail" if first <= now else "warn"
        return Finding("partitions", level, f"no partition for {first:%Y-%m-%d %H:%M} in {lacking}", do)
    oldest = min((table for table in tables if table.parent in HISTORY_OF), key=lambda table: table.opens)
    if oldest.closes < now - timedelta(days=retention_days) - EXPIRY_MARGIN - DROP_GRACE:
        return Finding(
            "partitions", "warn", f"{oldest.opens:%Y-%m} is older than RETENTION_DAYS and was not dropped", do
        )
    newest = min(max(table.closes for table in tables if table.parent == parent) for parent in ROWS)
    return Finding("partitions", "ok", f"those from {oldest.opens:%Y-%m-%d} to {newest:%Y-%m-%d} are present")


def _first_gap(tables: Sequence[Partition], parent: str, since: datetime) -> datetime:
    """The first instant from `since` on without a partition."""
    for table in sorted((each for each in tables if each.parent == parent), key=lambda each: each.opens):
        if table.opens <= since < table.closes:
            since = table.closes
    return since


def folding(seconds: float | None, fold_after_days: int) -> Finding:
    """Whether days are folded when due. `seconds` since the end of the newest folded day; None: folding has not begun."""
    if seconds is None:
        return Finding("folding", "ok", "not begun: all readings are rows")
    days = int(seconds / 86400) - fold_after_days
    if days > 1:
        do = "see day_folded and maintenance_failed in the log of python -m sql maintain (docs/runbook.md, EnergyFoldingBehind)"
        return Finding("folding", "warn", f"{days:,} days are due and not folded", do)
    return Finding("folding", "ok", "every day that is due is folded")


def clocks(found: Clocks, seconds_ahead: float | None) -> Finding:
    """Whether the clocks of the database, this host and the devices agree.

    `seconds_ahead` is how far rollups or evaluations are ahead of the database's clock.
    """
    do = "correct the clocks (NTP); maintenance deletes nothing by age until they agree (docs/runbook.md, EnergyClocksDisagree)"
    if message := disagreement(found):
        return Finding("clocks", "fail", message, do)
    if abs(found.offset) > CLOCK_OFFSET:
        what = f"the database's clock is {found.offset.total_seconds():+,.0f} s from this host's"
        return Finding("clocks", "warn", what, "correct the clocks (NTP)")
    if seconds_ahead and seconds_ahead > CLOCK_OFFSET.total_seconds():
        what = (
            f"rollups or evaluations are {seconds_ahead:,.0f} s ahead of the clock, which was ahead when they were made"
        )
        return Finding("clocks", "warn", what, "nothing: the next round of maintenance makes them again")
    return Finding("clocks", "ok", "those of the database, this host and the devices agree")


def ledger(unbalanced: Sequence[Row], counts: Sequence[Row] | None) -> Finding:
    """Whether every consumed record is accounted for; `counts` is None when counting the rows took too long."""
    do = "stop the consumers, leave the database unchanged and find out what has changed it (docs/operations.md, The ledger)"
    if unbalanced:
        where = ", ".join(f"{row['topic']}/{row['partition']} of {row['consumer_group']}" for row in unbalanced)
        return Finding("ledger", "fail", f"consumed differs from written + duplicates + dead letters: {where}", do)
    if counts is None:
        return Finding("ledger", "ok", "the counts add up; the rows were not counted, which takes longer: use --ledger")
    wrong = [row for row in counts if row["adds_up"] is False]
    if wrong:
        what = "; ".join(
            f"{row['topic']}: {row['written']:,} written, {row['rows_stored']:,} stored; {row['dead_lettered']:,} dead-lettered, "
            f"{row['dead_letters_stored']:,} stored"
            for row in wrong
        )
        return Finding("ledger", "fail", what, do)
    return Finding(
        "ledger", "ok", f"{sum(row['consumed'] for row in counts):,} records consumed, and each is accounted for"
    )


def dead_letters(rows: Sequence[Row]) -> Finding:
    """Dead letters that need an operator's decision."""
    if not rows:
        return Finding("dead_letters", "ok", "none is unresolved")
    most = ", ".join(f"{row['letters']:,} {row['reason']} of {row['topic']}" for row in rows[:3])
    what = f"{sum(row['letters'] for row in rows):,} are unresolved; most: {most}"
    return Finding("dead_letters", "warn", what, "python -m consumer dead-letters list, then replay or discard")


def topics(breakers: Sequence[Row], stalled: Sequence[Row]) -> Finding:
    """Topics with an open circuit breaker, and partitions that are halted or not consumed."""
    opened = [row for row in breakers if row["state"] == "open"]
    if opened:
        what = "; ".join(f"{row['topic']} is not consumed: {row['detail']}" for row in opened)
        return Finding("topics", "fail", what, "fix the producer, then python -m consumer breaker close TOPIC")
    halted = [row for row in stalled if row["halt_reason"]]
    if halted:
        what = "; ".join(
            f"{row['topic']}/{row['partition']} of {row['consumer_group']} is halted: {row['halt_reason']}"
            for row in halted
        )
        return Finding("topics", "fail", what, "python -m consumer offsets show, then accept-gap or reset")
    if stalled:
        what = "; ".join(
            f"{row['topic']}/{row['partition']} of {row['consumer_group']} has {row['records']:,} unread records and no progress "
            f"for {row['seconds']:,.0f} s"
            for row in stalled
        )
        return Finding(
            "topics",
            "fail",
            what,
            "check that consumers run (python -m consumer offsets show lists what they hold), and whether a producer's "
            "transaction stays open (energy_consumer_open_transaction_seconds)",
        )
    if breakers:
        what = ", ".join(row["topic"] for row in breakers)
        return Finding(
            "topics",
            "warn",
            f"rejected records of {what} become dead letters",
            "nothing to do: this ends by itself when few records are rejected",
        )
    return Finding("topics", "ok", "every topic is consumed, and no partition is stalled")


def maintenance(seconds: float, failed: Sequence[Row], interval: float) -> Finding:
    """Whether maintenance rounds take place, and whether each task's last run succeeded."""
    if seconds < -CLOCK_OFFSET.total_seconds():
        what = f"the last round was {-seconds:,.0f} s in the future"
        return Finding("maintenance", "warn", what, "the clock was ahead: check that python -m sql maintain runs now")
    if seconds > max(3600, 10 * interval):
        return Finding("maintenance", "fail", f"no round for {seconds:,.0f} s", "start python -m sql maintain")
    if seconds > 5 * interval:
        return Finding(
            "maintenance",
            "warn",
            f"no round for {seconds:,.0f} s",
            "check that python -m sql maintain runs, and see its log",
        )
    if failed:
        what = "; ".join(f"{row['task']} failed: {row['error']}" for row in failed)
        return Finding("maintenance", "warn", what, "see docs/operations.md, Maintenance")
    return Finding("maintenance", "ok", f"the last round was {seconds:.0f} s ago, and no task failed")


def late_hours(row: Row) -> Finding:
    """Hours to be rolled up again; until then, queries read history for them."""
    if row["marks"] > 1_000_000:  # noqa: PLR2004
        return Finding(
            "late_hours",
            "warn",
            "more than a million device hours are to be rolled up again",
            "check the devices' clocks, and consumer lag",
        )
    return Finding("late_hours", "ok", f"{row['marks']:,} device hours are to be rolled up again")


def alerts(row: Row) -> Finding:
    """Alerts in the outbox that are not published to Kafka yet."""
    if row["waiting"] and row["seconds"] > 600:  # noqa: PLR2004
        what = f"{row['waiting']:,} alerts are not published, the oldest for {row['seconds']:,.0f} s"
        return Finding("alerts", "warn", what, "see alert_relay_blocked in the log of the consumers")
    return Finding("alerts", "ok", f"{row['waiting']:,} alerts are waiting to be published")
