"""The mutants, and the scenario that has to find each."""

from dataclasses import dataclass
from typing import Final

from tests.faults.altered_code import Replacement


@dataclass(frozen=True, slots=True)
class Mutant:
    """A mistake in the engine, and what it does."""

    name: str
    mistake: str
    change: Replacement
    scenario: str = "everything"


MUTANTS: Final = (
    Mutant(
        "live-status-frozen",
        "the live status of a meter keeps its first reading",
        Replacement("sql/queries/meters.sql", "WHERE excluded.recorded_at > live.recorded_at", "WHERE false"),
    ),
    Mutant(
        "live-status-back",
        "an older reading replaces the live status of a vehicle",
        Replacement("sql/queries/vehicles.sql", "\nWHERE excluded.recorded_at > live.recorded_at", ""),
    ),
    Mutant(
        "live-status-mixed",
        "the live status of a vehicle keeps the temperature of an older reading",
        Replacement(
            "sql/queries/vehicles.sql",
            "last_battery_temp = excluded.last_battery_temp,",
            "last_battery_temp = live.last_battery_temp,",
        ),
    ),
    Mutant(
        "columns-swapped",
        "COPY writes charge and temperature into each other's columns",
        Replacement(
            "consumer/topic_registry.py",
            '"kwh_delivered_dc", "soc", "battery_temp")',
            '"kwh_delivered_dc", "battery_temp", "soc")',
        ),
    ),
    Mutant(
        "late-mark-skipped",
        "hours that late readings change are not marked",
        Replacement(
            "consumer/storage/readings.py",
            "if stored.oldest is not None and stored.oldest <",
            "if stored.oldest is not None and stored.oldest >",
        ),
    ),
    Mutant(
        "late-mark-of-next-hour",
        "the hour after the one that a late reading changes is marked",
        Replacement("consumer/storage/late_hours.py", ".timestamp()) // 3600)", ".timestamp()) // 3600 + 1)"),
    ),
    Mutant(
        "late-interval-not-marked",
        "hours that late registers change are not marked",
        Replacement(
            "sql/migrations/20261129000500_late_readings.sql",
            "FROM changed_rows WHERE recorded_at < late_before",
            "FROM changed_rows WHERE recorded_at > late_before",
        ),
    ),
    Mutant(
        "assignments-thrown-away",
        "assignments are consumed and not declared",
        Replacement("consumer/storage/assignments.py", "islice(pairs, ASSIGNMENTS_PER_STATEMENT)", "islice(pairs, 0)"),
    ),
    Mutant(
        "assignment-outlasts-its-end",
        "a meter counts for a vehicle after the assignment has ended",
        Replacement(
            "sql/queries/performance.sql", "least(upper(assignment.valid_during), requested.closes)", "requested.closes"
        ),
    ),
    Mutant(
        "silent-meter-compared",
        "the energy that a vehicle takes at a meter that never sends is compared with nothing",
        Replacement(
            "sql/queries/performance.sql",
            "live.meter_id = assignment.meter_id), '-infinity')",
            "live.meter_id = assignment.meter_id), 'infinity')",
        ),
    ),
    Mutant(
        "overlap-not-set-aside",
        "an assignment that contradicts another is counted as written and has no dead letter",
        Replacement(
            "consumer/storage/assignments.py",
            'declaration["outcome"] == "overlap"',
            'declaration["outcome"] == "rejected"',
        ),
    ),
    Mutant(
        "span-one-too-many",
        "a batch counts one record more than it holds",
        Replacement(
            "consumer/records/batch.py",
            "before = Span(offsets.start, offsets.start, 0, 0, None)",
            "before = Span(offsets.start, offsets.start, 0, 1, None)",
        ),
    ),
    Mutant(
        "claim-without-condition",
        "the claim moves a partition's offset from any value",
        Replacement("sql/queries/offsets.sql", "    AND stored.next_offset = claimed.expected_offset\n", ""),
        scenario="freeze",
    ),
    Mutant(
        "duplicate-counted-as-written",
        "the ledger counts duplicates as written",
        Replacement(
            "consumer/storage/row_writers.py",
            "result.duplicates.extend(buffer.records_for(written.duplicates))",
            "result.duplicates.extend(buffer.records_for([]))",
        ),
    ),
    Mutant(
        "conflict-taken-for-duplicate",
        "two readings of a meter that differ in the voltage are taken for equal",
        Replacement(
            "sql/queries/meters.sql",
            "stored.kwh_consumed_ac = given.kwh AND stored.voltage = given.voltage AS same",
            "stored.kwh_consumed_ac = given.kwh AS same",
        ),
    ),
    Mutant(
        "future-accepted",
        "readings of the future are stored",
        Replacement("schemas/records/readings.py", "timedelta(minutes=5)", "timedelta(days=5)"),
    ),
    Mutant(
        "dead-letter-cut",
        "the value of a dead letter is cut",
        Replacement(
            "consumer/storage/dead_letters.py",
            "values=[record.framed_value() for record in records]",
            "values=[record.value and record.framed_value()[:30] for record in records]",
        ),
    ),
    Mutant(
        "rollup-of-wrong-hour",
        "the readings of a meter are summed under the hour after theirs",
        Replacement(
            "sql/queries/rollups.sql",
            "SELECT live.meter_id, each.hour, part.kwh",
            "SELECT live.meter_id, each.hour + interval '1 hour', part.kwh",
        ),
    ),
    Mutant(
        "hour-with-its-end",
        "a late hour is summed with the first reading of the next one",
        Replacement(
            "sql/queries/rollups.sql",
            "WHERE history.meter_id = changed.meter_id\n"
            "            AND history.recorded_at >= :hour AND history.recorded_at < :hour + interval '1 hour'",
            "WHERE history.meter_id = changed.meter_id\n"
            "            AND history.recorded_at >= :hour AND history.recorded_at <= :hour + interval '1 hour'",
        ),
    ),
    Mutant(
        "register-reset-misread",
        "a register that was reset adds nothing",
        Replacement("sql/migrations/20261128000304_register_returns.sql", "ELSE register END;", "ELSE 0 END;"),
    ),
    Mutant(
        "fault-never-closes",
        "a fault stays open when its charger is sound again",
        Replacement(
            "sql/maintenance/fleet_evaluation.py",
            "if each.before.is_open and not each.after.is_open]",
            "if not each.before.is_open and not each.after.is_open and each.fault_id]",
        ),
        scenario="fault-heals",
    ),
    Mutant(
        "fault-not-opened",
        "a faulty vehicle never gets a fault",
        Replacement(
            "sql/analytics/fault_state.py",
            "is_open=faulty >= rules.open_after)",
            "is_open=faulty > rules.open_after + 99)",
        ),
    ),
    Mutant(
        "alert-told-twice",
        "each event is in the outbox twice",
        Replacement(
            "sql/queries/evaluation.sql",
            "INSERT INTO alert_outbox (key, value) VALUES (:key, :value);",
            "INSERT INTO alert_outbox (key, value) VALUES (:key, :value), (:key, :value);",
        ),
    ),
    Mutant(
        "alert-told-for-ever",
        "an event that was published stays in the outbox as waiting",
        Replacement("sql/queries/alerts.sql", "SET published_at = now() WHERE", "SET published_at = NULL WHERE"),
    ),
    Mutant(
        "answer-of-another-day",
        "energy of several vehicles is that of the day before",
        Replacement(
            "api/routes/analytics.py",
            "[(closes - WINDOW, closes)] * len(newest)",
            "[(closes - 2 * WINDOW, closes - WINDOW)] * len(newest)",
        ),
    ),
    Mutant(
        "answer-without-end",
        "the energy of one vehicle ends an hour ago",
        Replacement(
            "api/routes/analytics.py",
            "[vehicle_id], [(closes - WINDOW, closes)])",
            "[vehicle_id], [(closes - WINDOW, closes - timedelta(hours=5))])",
        ),
    ),
    Mutant(
        "folded-reading-shifted",
        "a folded reading has the energy of the one after it",
        Replacement(
            "sql/migrations/20261129000101_folded_history.sql",
            "series.kwh_delivered_dc[number], series.soc[number], series.battery_temp[number], folded.day",
            "series.kwh_delivered_dc[number + 1], series.soc[number], series.battery_temp[number], folded.day",
        ),
        "folding",
    ),
    Mutant(
        "folded-hour-unsummed",
        "the energy of a folded hour is that of its largest reading",
        Replacement(
            "sql/migrations/20261129000101_folded_history.sql",
            "            sum(reading.kwh::numeric)::double precision AS kwh, sum(reading.temperature",
            "            max(reading.kwh)::double precision AS kwh, sum(reading.temperature",
        ),
        "folding",
    ),
    Mutant(
        "late-reading-lost",
        "late readings are deleted when they are merged, and not folded",
        Replacement(
            "sql/migrations/20261129000101_folded_history.sql",
            "    FROM vehicle_late_readings;",
            "    FROM vehicle_late_readings WHERE false;",
        ),
        "folding",
    ),
)
