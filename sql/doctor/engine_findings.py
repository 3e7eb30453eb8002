"""How the engine itself stands, judged like the server in findings.py: ledger, topics, letters, months, maintenance.

Pure: rows in, findings out.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from sql.doctor.server_findings import Finding, Row
from sql.months import WAITS, month_after


def partitions(rows: Sequence[Row], now: datetime, retention_days: int) -> Finding:
    """Months that readings of today and of next month need; and those that should have gone."""
    months: dict[str, set[date]] = {}
    for row in rows:
        months.setdefault(row["parent"], set()).add(row["month"])
    this = now.astimezone(UTC).date().replace(day=1)
    do = "run python -m sql maintain, and see its log for the tasks partitions and retention"
    for level, wanted in (("fail", this), ("warn", month_after(this))):
        without = sorted(parent for parent, found in months.items() if wanted not in found)
        if without or not months:
            what = f"no partition for {wanted:%Y-%m} in {', '.join(without) or 'any history'}"
            return Finding("partitions", "fail" if level == "fail" or not months else "warn", what, do)
    oldest = min(min(found) for found in months.values())
    due = now - timedelta(days=retention_days) - WAITS - timedelta(days=2)
    if datetime(*month_after(oldest).timetuple()[:3], tzinfo=UTC) < due:
        return Finding("partitions", "warn", f"{oldest:%Y-%m} is older than RETENTION_DAYS and was not dropped", do)
    newest = min(max(found) for found in months.values())
    return Finding("partitions", "ok", f"months from {oldest:%Y-%m} to {newest:%Y-%m} are ready")


def ledger(sums: Sequence[Row], rows: Sequence[Row] | None) -> Finding:
    """Whether what was consumed is what is there; `rows` is None when counting them would have taken too long."""
    do = "stop the consumers, keep the database as it is and find out who has changed it (docs/operations.md, The ledger)"
    if sums:
        where = ", ".join(f"{row['topic']}/{row['partition']} of {row['consumer_group']}" for row in sums)
        return Finding("ledger", "fail", f"consumed is not written + duplicates + dead letters: {where}", do)
    if rows is None:
        return Finding(
            "ledger", "ok", "the counts add up; the rows were not counted, for that takes longer: --ledger does"
        )
    wrong = [row for row in rows if row["adds_up"] is False]
    if wrong:
        what = "; ".join(
            f"{row['topic']}: {row['written']:,} written, {row['rows_stored']:,} there; {row['dead_lettered']:,} dead-lettered, "
            f"{row['dead_letters_stored']:,} there"
            for row in wrong
        )
        return Finding("ledger", "fail", what, do)
    return Finding(
        "ledger", "ok", f"{sum(row['consumed'] for row in rows):,} records consumed, and each is accounted for"
    )


def dead_letters(rows: Sequence[Row]) -> Finding:
    """Records that wait for an operator."""
    if not rows:
        return Finding("dead_letters", "ok", "none is unresolved")
    most = ", ".join(f"{row['letters']:,} {row['reason']} of {row['topic']}" for row in rows[:3])
    what = f"{sum(row['letters'] for row in rows):,} are unresolved; most: {most}"
    return Finding("dead_letters", "warn", what, "python -m consumer dead-letters list, then replay or discard")


def topics(breakers: Sequence[Row], standing: Sequence[Row]) -> Finding:
    """Topics and partitions that are not read."""
    opened = [row for row in breakers if row["state"] == "open"]
    if opened:
        what = "; ".join(f"{row['topic']} is not read: {row['detail']}" for row in opened)
        return Finding("topics", "fail", what, "mend the producer, then python -m consumer breaker close TOPIC")
    if standing:
        what = "; ".join(
            f"{row['topic']}/{row['partition']} of {row['consumer_group']} has had {row['records']:,} records to read "
            f"for {row['seconds']:,.0f} s"
            for row in standing
        )
        return Finding(
            "topics", "fail", what, "see that consumers run, and python -m consumer offsets show for halted partitions"
        )
    if breakers:
        what = ", ".join(row["topic"] for row in breakers)
        return Finding(
            "topics", "warn", f"refused records of {what} become dead letters", "it ends by itself when few are refused"
        )
    return Finding("topics", "ok", "every topic is read, and no partition stands still")


def maintenance(seconds: float, failed: Sequence[Row], interval: float) -> Finding:
    """Whether the rounds go on, and whether each task went well the last time."""
    if seconds > max(3600, 10 * interval):
        return Finding("maintenance", "fail", f"no round for {seconds:,.0f} s", "start python -m sql maintain")
    if seconds > 5 * interval:
        return Finding(
            "maintenance", "warn", f"no round for {seconds:,.0f} s", "see that python -m sql maintain runs, and its log"
        )
    if failed:
        what = "; ".join(f"{row['task']} failed: {row['error']}" for row in failed)
        return Finding("maintenance", "warn", what, "docs/operations.md, Maintenance")
    return Finding("maintenance", "ok", f"the last round was {seconds:.0f} s ago, and no task failed")


def late_hours(row: Row) -> Finding:
    """Hours that wait to be rolled up again: questions about them read history."""
    if row["marks"] > 1_000_000:  # noqa: PLR2004
        return Finding(
            "late_hours",
            "warn",
            "more than a million hours of devices wait to be rolled up again",
            "see the devices' clocks, and lag",
        )
    return Finding("late_hours", "ok", f"{row['marks']:,} hours of devices wait to be rolled up again")


def alerts(row: Row) -> Finding:
    """Alerts that are not yet in Kafka."""
    if row["waiting"] and row["seconds"] > 600:  # noqa: PLR2004
        what = f"{row['waiting']:,} alerts are not published, the oldest for {row['seconds']:,.0f} s"
        return Finding("alerts", "warn", what, "see alert_relay_blocked in the log of the consumers")
    return Finding("alerts", "ok", f"{row['waiting']:,} alerts wait to be published")
