"""What must be in the database, worked out from Kafka's log and the producer's journal alone, and what is there."""

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

Place = tuple[str, int, int]


@dataclass(slots=True)
class Verdict:
    """How many records have no effect, how many have more than one, and the first few of them in words."""

    acknowledged: int = 0
    lost: int = 0
    duplicated: int = 0
    findings: list[str] = field(default_factory=list)

    def finds(self, *, lost: int = 0, duplicated: int = 0, what: str) -> None:
        """Note something that should not be."""
        if lost or duplicated:
            self.lost += lost
            self.duplicated += duplicated
            self.findings.append(f"{what}: {lost} lost, {duplicated} duplicated")


@dataclass(slots=True)
class _Expected:
    readings: dict[RecordType, dict[tuple[str, datetime], Row]]
    duplicates: Counter[str]
    letters: dict[Place, bytes | None]


@dataclass(slots=True)
class Known:
    """What the scenario itself has done to the data: records that Kafka no longer has though they were read (`archived`),
    records that it has dropped unread (`gone`), and which rows the database has been told to refuse.
    """

    archived: list[Any] = field(default_factory=list)
    gone: set[Place] = field(default_factory=set)
    refuses: Callable[[Row], bool] = lambda _: False


async def judge(servers: str, database: Database, topics: Topics, journal: list[Acknowledged], known: Known) -> Verdict:
    """Compare, row by row, by sums and by the ledger."""
    verdict = Verdict(acknowledged=len(journal))
    log = known.archived + await read_log(servers, topics)
    kept = {(each.topic, each.partition, each.offset, each.value) for each in log}
    places = ((*each.partition, each.offset) for each in journal)
    forgotten = [
        each
        for each, place in zip(journal, places, strict=True)
        if place not in known.gone and (*place, each.value) not in kept
    ]
    verdict.finds(lost=len(forgotten), what="acknowledged, and not in Kafka's log")
    expected = _expect(log, topics, known.refuses)
    for telemetry in (METER_READINGS, VEHICLE_READINGS):
        await _compare_history(verdict, database, telemetry, expected.readings[telemetry])
        await _compare_live(verdict, database, telemetry, expected.readings[telemetry])
    await _compare_letters(verdict, database, expected.letters)
    await _compare_counters(verdict, database, log)
    for topic, entry in (await ledger(database, topics)).items():
        more = entry.duplicates - expected.duplicates[topic]
        verdict.finds(lost=max(0, -more), duplicated=max(0, more), what=f"counted as duplicates of {topic}")
    return verdict


async def read_log(servers: str, topics: Topics) -> list[Any]:
    """All records of both topics, each partition in order."""
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


def _expect(log: list[Any], topics: Topics, refuses: Callable[[Row], bool]) -> _Expected:
    expected = _Expected({METER_READINGS: {}, VEHICLE_READINGS: {}}, Counter(), {})
    decoders = {topics.meter: Decoder(METER_READINGS), topics.vehicle: Decoder(VEHICLE_READINGS)}
    limits = TimeLimits.at(datetime.now(UTC), 400)
    for record in log:
        decoder = decoders[record.topic]
        decoded = decoder.decode([record], limits)
        if decoded.dead_letters or refuses(decoded.rows[0]):
            expected.letters[(record.topic, record.partition, record.offset)] = record.value
            continue
        row = decoded.rows[0]
        stored = expected.readings[decoder.record_type].setdefault((row[DEVICE], row[RECORDED_AT]), row)
        if stored is row:
            continue
        if stored == row:
            expected.duplicates[record.topic] += 1
        else:
            expected.letters[(record.topic, record.partition, record.offset)] = record.value
    return expected


async def _compare_history(
    verdict: Verdict, database: Database, telemetry: TelemetryType, expected: dict[tuple[str, datetime], Row]
) -> None:
    columns = ", ".join(telemetry.columns)
    rows = await database.fetch(f"SELECT {columns} FROM {telemetry.history}")
    stored = Counter(tuple(row) for row in rows)
    wanted = Counter(expected.values())
    verdict.finds(
        lost=(wanted - stored).total(), duplicated=(stored - wanted).total(), what=f"rows of {telemetry.history}"
    )
    energies = [fsum(row[RECORDED_AT + 1] for row in rows.elements()) for rows in (stored, wanted)]
    if abs(energies[0] - energies[1]) > 1e-9:
        verdict.finds(lost=1, what=f"the sum of energy in {telemetry.history}")


async def _compare_live(
    verdict: Verdict, database: Database, telemetry: TelemetryType, expected: dict[tuple[str, datetime], Row]
) -> None:
    newest: defaultdict[str, datetime] = defaultdict(lambda: datetime.min.replace(tzinfo=UTC))
    for device, at in expected:
        newest[device] = max(newest[device], at)
    rows = await database.fetch(f"SELECT {telemetry.columns[0]}, recorded_at FROM {telemetry.name}_live_status")
    wrong = set(newest.items()) ^ {tuple(row) for row in rows}
    verdict.finds(lost=len(wrong), what=f"live status of {telemetry.name}s that is not the newest")


async def _compare_letters(verdict: Verdict, database: Database, expected: dict[Place, bytes | None]) -> None:
    rows = await database.fetch('SELECT topic, partition, "offset", value FROM dead_letters')
    stored = {(row["topic"], row["partition"], row["offset"]): row["value"] for row in rows}
    verdict.finds(
        lost=len(expected.items() - stored.items()),
        duplicated=len(stored.items() - expected.items()),
        what="dead letters",
    )


async def _compare_counters(verdict: Verdict, database: Database, log: list[Any]) -> None:
    produced = Counter((each.topic, each.partition) for each in log)
    rows = await database.fetch("SELECT topic, partition, records_consumed FROM kafka_offsets")
    consumed = Counter({(row["topic"], row["partition"]): row["records_consumed"] for row in rows})
    verdict.finds(
        lost=(produced - consumed).total(), duplicated=(consumed - produced).total(), what="records that were counted"
    )
