"""The oracle: Kafka's log and the producer's journal -> expected contents of the database -> comparison with the actual ones."""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import fsum
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from consumer.records.decode import Decoder
from consumer.records.record_type import DEVICE, RECORDED_AT, RecordType, Row, TelemetryType
from consumer.topic_registry import METER_READINGS, VEHICLE_READINGS
from schemas.records.readings import TimeLimits
from tests.faults.load import Acknowledged
from tests.support.database import Database
from tests.support.ledger import Topics, ledger

RecordId = tuple[str, int, int]  # topic, partition, offset


@dataclass(slots=True)
class Verdict:
    """How many records have no effect, how many have more than one, and a description of each difference."""

    acknowledged: int = 0
    lost: int = 0
    duplicated: int = 0
    findings: list[str] = field(default_factory=list)

    def add(self, *, lost: int = 0, duplicated: int = 0, what: str) -> None:
        """Add a finding, unless both numbers are 0."""
        if lost or duplicated:
            self.lost += lost
            self.duplicated += duplicated
            self.findings.append(f"{what}: {lost} lost, {duplicated} duplicated")


@dataclass(slots=True)
class _Expected:
    readings: dict[RecordType, dict[tuple[str, datetime], Row]]
    duplicates: Counter[str]
    dead_letters: dict[RecordId, bytes | None]


@dataclass(slots=True)
class DeliberateChanges:
    """What the scenario itself has done to the data.

    `consumed` are records that were deleted from Kafka after they had been consumed, `unread` those that were deleted before, and
    `rejects` says which rows the database has been set up to reject.
    """

    consumed: list[Any] = field(default_factory=list)
    unread: set[RecordId] = field(default_factory=set)
    rejects: Callable[[Row], bool] = lambda _: False


async def compare(
    servers: str, database: Database, topics: Topics, journal: list[Acknowledged], changes: DeliberateChanges
) -> Verdict:
    """Compare the database with Kafka's log row by row, by sums and by the ledger."""
    verdict = Verdict(acknowledged=len(journal))
    log = changes.consumed + await read_log(servers, topics)
    kept = {(each.topic, each.partition, each.offset, each.value) for each in log}
    record_ids = ((*each.partition, each.offset) for each in journal)
    missing = [
        each
        for each, record_id in zip(journal, record_ids, strict=True)
        if record_id not in changes.unread and (*record_id, each.value) not in kept
    ]
    verdict.add(lost=len(missing), what="acknowledged, but not in Kafka's log")
    expected = _expect(log, topics, changes.rejects)
    for telemetry in (METER_READINGS, VEHICLE_READINGS):
        await _compare_history(verdict, database, telemetry, expected.readings[telemetry])
        await _compare_live_status(verdict, database, telemetry, expected.readings[telemetry])
    await _compare_dead_letters(verdict, database, expected.dead_letters)
    await _compare_counters(verdict, database, log)
    for topic, entry in (await ledger(database, topics)).items():
        more = entry.duplicates - expected.duplicates[topic]
        verdict.add(lost=max(0, -more), duplicated=max(0, more), what=f"duplicates of {topic} as counted by the ledger")
    return verdict


async def read_log(servers: str, topics: Topics) -> list[Any]:
    """All records of both topics, ordered by topic, partition and offset."""
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = [
            TopicPartition(topic, number)
            for topic in (topics.meter, topics.vehicle)
            for number in range(topics.partitions)
        ]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        log: list[Any] = []
        while any([await consumer.position(each) < ends[each] for each in partitions]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                log += records
    finally:
        await consumer.stop()
    return sorted(log, key=lambda each: (each.topic, each.partition, each.offset))


def _expect(log: list[Any], topics: Topics, rejects: Callable[[Row], bool]) -> _Expected:
    expected = _Expected({METER_READINGS: {}, VEHICLE_READINGS: {}}, Counter(), {})
    decoders = {topics.meter: Decoder(METER_READINGS), topics.vehicle: Decoder(VEHICLE_READINGS)}
    limits = TimeLimits.at(datetime.now(UTC), 400)
    for record in log:
        decoder = decoders[record.topic]
        decoded = decoder.decode([record], limits)
        if decoded.dead_letters or rejects(decoded.rows[0]):
            expected.dead_letters[(record.topic, record.partition, record.offset)] = record.value
            continue
        row = decoded.rows[0]
        stored = expected.readings[decoder.record_type].setdefault((row[DEVICE], row[RECORDED_AT]), row)
        if stored is row:
            continue
        if stored == row:
            expected.duplicates[record.topic] += 1
        else:
            expected.dead_letters[(record.topic, record.partition, record.offset)] = record.value
    return expected


async def _compare_history(
    verdict: Verdict, database: Database, telemetry: TelemetryType, expected: dict[tuple[str, datetime], Row]
) -> None:
    columns = ", ".join(telemetry.columns)
    rows = await database.fetch(f"SELECT {columns} FROM {telemetry.history}")
    stored = Counter(tuple(row) for row in rows)
    expected_rows = Counter(expected.values())
    verdict.add(
        lost=(expected_rows - stored).total(),
        duplicated=(stored - expected_rows).total(),
        what=f"rows of {telemetry.history}",
    )
    energies = [fsum(row[RECORDED_AT + 1] for row in rows.elements()) for rows in (stored, expected_rows)]
    if abs(energies[0] - energies[1]) > 1e-9:
        verdict.add(lost=1, what=f"sum of energy in {telemetry.history}")


async def _compare_live_status(
    verdict: Verdict, database: Database, telemetry: TelemetryType, expected: dict[tuple[str, datetime], Row]
) -> None:
    newest: defaultdict[str, datetime] = defaultdict(lambda: datetime.min.replace(tzinfo=UTC))
    for device, at in expected:
        newest[device] = max(newest[device], at)
    rows = await database.fetch(f"SELECT {telemetry.columns[0]}, recorded_at FROM {telemetry.name}_live_status")
    wrong = set(newest.items()) ^ {tuple(row) for row in rows}
    verdict.add(lost=len(wrong), what=f"{telemetry.name}s whose live status is not the newest reading")


async def _compare_dead_letters(verdict: Verdict, database: Database, expected: dict[RecordId, bytes | None]) -> None:
    rows = await database.fetch('SELECT topic, partition, "offset", value FROM dead_letters')
    stored = {(row["topic"], row["partition"], row["offset"]): row["value"] for row in rows}
    verdict.add(
        lost=len(expected.items() - stored.items()),
        duplicated=len(stored.items() - expected.items()),
        what="dead letters",
    )


async def _compare_counters(verdict: Verdict, database: Database, log: list[Any]) -> None:
    produced = Counter((each.topic, each.partition) for each in log)
    rows = await database.fetch("SELECT topic, partition, records_consumed FROM kafka_offsets")
    consumed = Counter({(row["topic"], row["partition"]): row["records_consumed"] for row in rows})
    verdict.add(
        lost=(produced - consumed).total(),
        duplicated=(consumed - produced).total(),
        what="consumed records as counted by the ledger",
    )
