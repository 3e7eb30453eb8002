"""The tables against what the log means: history, live status, dead letters, assignments, rollups, and the ledger."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from math import fsum, isclose
from typing import Any, Final

from tests.faults.oracle.archive import Archived
from tests.faults.oracle.expected import Expected, Letter, Series, hour_of, kafka_time
from tests.faults.oracle.log import TopicNames
from tests.faults.oracle.verdict import EXAMPLES, Verdict

Connection = Any  # asyncpg.Connection
Values = Mapping[Any, tuple[float, ...]]

HISTORY: Final = {
    "meter": "SELECT meter_id, recorded_at, kwh_consumed_ac, voltage FROM meter_readings WHERE derived IS NOT TRUE",
    "vehicle": "SELECT vehicle_id, recorded_at, kwh_delivered_dc, soc, battery_temp FROM vehicle_readings",
    "register": "SELECT meter_id, recorded_at, kwh_register, voltage FROM register_readings",
}
DERIVED: Final = "SELECT meter_id, recorded_at, kwh_consumed_ac, voltage FROM meter_readings WHERE derived IS TRUE"
LIVE: Final = {
    "meter": "SELECT meter_id, recorded_at, last_kwh_consumed_ac, last_voltage FROM meter_live_status",
    "vehicle": "SELECT vehicle_id, recorded_at, last_kwh_delivered_dc, soc, last_battery_temp FROM vehicle_live_status",
}
FOLDED_BEFORE: Final = "(SELECT folded_before FROM rollup_state)"
HOUR_OF_DAY: Final = "(day + (number - 1) * interval '1 hour') AT TIME ZONE 'UTC'"
HOURLY: Final = {  # of the days that are rows, and of the folded ones
    "meter": f"""
        SELECT meter_id, hour, readings, kwh_consumed_ac FROM meter_energy_hourly WHERE hour >= {FOLDED_BEFORE}
        UNION ALL
        SELECT meter_id, {HOUR_OF_DAY}, sums.readings, kwh
        FROM meter_days, unnest(hourly_readings, hourly_kwh_consumed_ac)
            WITH ORDINALITY AS sums (readings, kwh, number)
        WHERE day < {FOLDED_BEFORE} AND sums.readings > 0""",
    "vehicle": f"""
        SELECT vehicle_id, hour, readings, kwh_delivered_dc, battery_temp_sum, battery_temp_max, soc_min, soc_max
        FROM vehicle_energy_hourly WHERE hour >= {FOLDED_BEFORE}
        UNION ALL
        SELECT vehicle_id, {HOUR_OF_DAY}, sums.readings, kwh, temp_sum, temp_max, soc_low, soc_high
        FROM vehicle_days, unnest(
            hourly_readings, hourly_kwh_delivered_dc, hourly_battery_temp_sum,
            hourly_battery_temp_max, hourly_soc_min, hourly_soc_max
        ) WITH ORDINALITY AS sums (readings, kwh, temp_sum, temp_max, soc_low, soc_high, number)
        WHERE day < {FOLDED_BEFORE} AND sums.readings > 0""",
}
LETTERS: Final = (
    'SELECT topic, partition, "offset", key, value, kafka_timestamp, reason, detail FROM dead_letters '
    'ORDER BY topic, partition, "offset", rejected_at'
)
ASSIGNMENTS: Final = (
    "SELECT vehicle_id, meter_id, lower(valid_during), upper(valid_during) FROM vehicle_meter_assignments"
)
DECLARATIONS: Final = "SELECT count(*) FROM assignment_declarations WHERE source = $1"
LEDGER: Final = (
    "SELECT topic, partition, records_consumed, records_written, records_duplicate, records_dead_lettered, next_offset "
    "FROM kafka_offsets"
)
COMPLETE_BEFORE: Final = "SELECT complete_before FROM rollup_state"
# Of a day that is being folded, hours with late readings are answered from the readings, not from sums.
UNSUMMED: Final = (
    "SELECT meter_id AS device, date_trunc('hour', recorded_at, 'UTC') AS hour FROM meter_late_readings, rollup_state "
    "WHERE recorded_at >= folded_before UNION "
    "SELECT vehicle_id, date_trunc('hour', recorded_at, 'UTC') FROM vehicle_late_readings, rollup_state "
    "WHERE recorded_at >= folded_before"
)


async def compare_tables(
    verdict: Verdict, connection: Connection, expected: Expected, topics: TopicNames, archived: Archived
) -> None:
    """Compare every table that consumers write. Readings are in the database or in the archive."""
    for kind, query in HISTORY.items():
        wanted = [(*key, *reading.values) for key, reading in expected.stored[kind].items()]
        found = [*map(tuple, await connection.fetch(query)), *archived.rows[kind]]
        verdict.compare(f"readings in {kind} history", wanted, found)
    intervals = [*await connection.fetch(DERIVED), *archived.derived]
    derived = {(row[0], row[1]): tuple(row[2:]) for row in intervals}
    _compare_values(verdict, "intervals derived from registers", expected.derived, derived)
    for kind, series in (("meter", expected.meters), ("vehicle", expected.vehicles)):
        rows = {(row[0], row[1]): tuple(row[2:]) for row in await connection.fetch(LIVE[kind])}
        newest = {(device, readings[-1][0]): readings[-1][1] for device, readings in series.items()}
        _compare_values(verdict, f"live status of {kind}s", newest, rows)
    await _compare_dead_letters(verdict, connection, expected)
    await _compare_assignments(verdict, connection, expected, topics)
    await _compare_ledger(verdict, connection, expected)


async def compare_rollups(verdict: Verdict, connection: Connection, expected: Expected, archived: Archived) -> None:
    """Compare the hours below the watermark with plain sums; call it once no late hour waits to be refreshed.

    Archived months have no hours in the database.
    """
    complete_before = await connection.fetchval(COMPLETE_BEFORE)
    unsummed = {(row["device"], row["hour"]) for row in await connection.fetch(UNSUMMED)}
    sums = {"meter": _meter_hours(expected.meters), "vehicle": _vehicle_hours(expected.vehicles)}
    for kind, query in HOURLY.items():
        wanted = {
            key: values
            for key, values in sums[kind].items()
            if key[1] < complete_before and key not in unsummed and (key[1].year, key[1].month) not in archived.months
        }
        found = {(row[0], row[1]): tuple(map(float, row[2:])) for row in await connection.fetch(query)}
        rows = {key: values for key, values in found.items() if key not in unsummed}
        _compare_values(verdict, f"hours of {kind}s", wanted, rows)


def _meter_hours(meters: Mapping[str, Series]) -> dict[tuple[str, datetime], tuple[float, ...]]:
    return {key: (len(values), fsum(each[0] for each in values)) for key, values in _by_hour(meters).items()}


def _vehicle_hours(vehicles: Mapping[str, Series]) -> dict[tuple[str, datetime], tuple[float, ...]]:
    hours: dict[tuple[str, datetime], tuple[float, ...]] = {}
    for key, readings in _by_hour(vehicles).items():
        kwhs, socs, temperatures = zip(*readings, strict=True)
        hours[key] = (len(kwhs), fsum(kwhs), fsum(temperatures), max(temperatures), min(socs), max(socs))
    return hours


def _by_hour(series: Mapping[str, Series]) -> dict[tuple[str, datetime], list[tuple[float, ...]]]:
    hours: defaultdict[tuple[str, datetime], list[tuple[float, ...]]] = defaultdict(list)
    for device, readings in series.items():
        for at, values in readings:
            hours[(device, hour_of(at))].append(values)
    return hours


async def _compare_dead_letters(verdict: Verdict, connection: Connection, expected: Expected) -> None:
    """Each refused record exactly once and byte by byte, with one of the reasons that apply."""
    rows = await connection.fetch(LETTERS)
    wanted = [(*each.record.id, each.record.key, each.record.value) for each in expected.letters]
    verdict.compare("dead letters", wanted, [tuple(row[:5]) for row in rows])
    facts: defaultdict[tuple[Any, ...], list[Letter]] = defaultdict(list)  # several where a topic was recreated
    for each in expected.letters:
        facts[(*each.record.id, each.record.key, each.record.value)].append(each)
    wrong = []
    for row in rows:
        letters = facts.get(tuple(row[:5]))
        if letters and not any(_agrees(row, each) for each in letters):
            wrong.append(f"{tuple(row)}, expected one of {sorted(letters[0].reasons)}")
    verdict.require(f"{len(wrong)} dead letters have a wrong reason or time: {wrong[:EXAMPLES]}", holds=not wrong)
    verdict.require("a dead letter has no detail", holds=all(row["detail"] for row in rows))


def _agrees(row: Any, letter: Letter) -> bool:
    return row["reason"] in letter.reasons and row["kafka_timestamp"] == kafka_time(letter.record.timestamp)


async def _compare_assignments(
    verdict: Verdict, connection: Connection, expected: Expected, topics: TopicNames
) -> None:
    wanted = [(each.vehicle, each.meter, each.start, each.end) for each in expected.assignments]
    verdict.compare("assignments", wanted, map(tuple, await connection.fetch(ASSIGNMENTS)))
    declared = await connection.fetchval(DECLARATIONS, f"kafka:{topics.assignment}")
    verdict.require(
        f"{declared} declarations of assignments are stored, {expected.declarations} were accepted",
        holds=declared == expected.declarations,
    )


async def _compare_ledger(verdict: Verdict, connection: Connection, expected: Expected) -> None:
    """Each count of each partition, and the stored offset behind the last record."""
    rows = {(row["topic"], row["partition"]): row for row in await connection.fetch(LEDGER)}
    counted: Counter[tuple[str, int, str]] = Counter()
    for (topic, partition), row in rows.items():
        counted[(topic, partition, "written")] = row["records_written"]
        counted[(topic, partition, "duplicate")] = row["records_duplicate"]
        counted[(topic, partition, "dead_letter")] = row["records_dead_lettered"]
    verdict.compare("records as counted by the ledger", expected.outcomes.elements(), counted.elements())
    for place, row in rows.items():
        total = row["records_written"] + row["records_duplicate"] + row["records_dead_lettered"]
        verdict.require(f"the ledger of {place} does not add up: {dict(row)}", holds=row["records_consumed"] == total)
    behind = {
        place: offset
        for place, offset in expected.next_offsets.items()
        if place not in rows or rows[place]["next_offset"] < offset
    }
    verdict.require(f"stored offsets are below the end of the log: {behind}", holds=not behind)


def _compare_values(verdict: Verdict, what: str, expected: Values, found: Values) -> None:
    """Compare numbers by key. Sums and differences of floats may differ in the last digits."""
    verdict.compare(what, expected, found)
    wrong = [key for key in expected.keys() & found.keys() if not _close(expected[key], found[key])]
    examples = [f"{key}: expected {expected[key]}, found {found[key]}" for key in sorted(wrong)[:EXAMPLES]]
    verdict.require(f"{what}: {len(wrong)} wrong values ({'; '.join(examples)})", holds=not wrong)


def _close(one: Iterable[float], other: Iterable[float]) -> bool:
    return all(isclose(a, b, rel_tol=1e-9, abs_tol=1e-9) for a, b in zip(one, other, strict=True))
