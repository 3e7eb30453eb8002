"""992 real charging sessions through Kafka, minute by minute; the expected results come from the file alone."""

from collections import Counter
from itertools import product

import msgspec
import pytest
from playwright.async_api import expect

from deploy.simulator.readings import RecordType
from schemas.records.readings import MeterReading, VehicleReading
from tests.acceptance.conftest import Replay
from tests.support.browser import CHROMIUM, NO_CHROMIUM, browser_tab
from tests.support.database import locked_tables, waits_for_lock
from tests.support.formats.encoding import FORMATS, framed, own_schema
from tests.support.formats.registry import schema_registry
from tests.support.ledger import Entry, committed_in_kafka, consumed, ledger
from tests.support.services import ConsumerGroup, ConsumerProcess
from tests.support.simulator import disturbances, replay
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


async def test_every_session_is_reported_with_its_totals(replayed: Replay, group: ConsumerGroup) -> None:
    group.start()
    await replayed.produce(replayed.readings)
    await replayed.until_consumed(len(replayed.readings))

    replayed.check_vehicles()
    per_side = len(replayed.readings) // 2
    assert await ledger(replayed.database, replayed.topics) == {
        replayed.topics.meter: Entry(per_side, per_side, 0, 0),
        replayed.topics.vehicle: Entry(per_side, per_side, 0, 0),
    }

    await replayed.maintain()
    replayed.check_vehicles()
    replayed.check_fleet()


async def test_the_totals_are_the_same_when_the_topics_carry_every_format(
    replayed: Replay, group: ConsumerGroup
) -> None:
    """Each reading is in the next format, so that each batch holds all of them, and none is aligned with a device."""
    kinds: dict[RecordType, type[msgspec.Struct]] = {RecordType.METER: MeterReading, RecordType.VEHICLE: VehicleReading}
    ids = {pair: number for number, pair in enumerate(product(FORMATS, kinds.values()), 1)}
    encoders = {pair: framed(*pair, schema_id=number) for pair, number in ids.items()}
    sent = []
    for number, reading in enumerate(replayed.readings):
        value_format = [*FORMATS, None][number % 7 % 4]
        if value_format is not None:
            encode = encoders[value_format, kinds[reading.record_type]]
            reading = reading._replace(value=encode(reading.value or b""))  # noqa: PLW2901
        sent.append(reading)
    with schema_registry() as registry:
        registry.schemas = {number: own_schema(*pair) for pair, number in ids.items()}
        group.start(KAFKA_METER_FORMAT="auto", KAFKA_VEHICLE_FORMAT="auto", SCHEMA_REGISTRY_URL=registry.url)
        await replayed.produce(sent)
        await replayed.until_consumed(len(sent))

    replayed.check_vehicles()
    per_side = len(sent) // 2
    assert await ledger(replayed.database, replayed.topics) == {
        replayed.topics.meter: Entry(per_side, per_side, 0, 0),
        replayed.topics.vehicle: Entry(per_side, per_side, 0, 0),
    }


async def test_the_page_shows_the_totals_of_the_file(replayed: Replay, group: ConsumerGroup) -> None:
    if CHROMIUM is None:
        pytest.skip(NO_CHROMIUM)
    newest = max(replayed.visits, key=lambda visit: visit.valid_to)
    sent = [each for each in replayed.readings if each.at_ms >= newest.valid_from.timestamp() * 1000]
    group.start()
    await replayed.produce(sent)
    await replayed.until_consumed(len(sent))

    expected = replay.expected_vehicles(replayed.visits)[newest.vehicle_id]
    async with browser_tab(str(replayed.api.base_url)) as page:
        await page.open(f"#/vehicle/{newest.vehicle_id}")
        await expect(page.value("dataPoints")).to_have_text(f"{expected.points:,}")
        for name, total in (
            ("totalEnergyConsumedAc", expected.ac_kwh),
            ("totalEnergyDeliveredDc", expected.dc_kwh),
            ("averageBatteryTemp", expected.average_battery_temp),
        ):
            shown = float(await page.value(name).get_attribute("value") or "")
            assert shown == pytest.approx(total, rel=1e-6), name
        await expect(page.value("efficiencyRatio")).to_have_text("95.00 %")


async def test_duplicates_disorder_and_malformed_records_change_no_result(
    replayed: Replay, group: ConsumerGroup
) -> None:
    mixed = disturbances.with_malformed(
        disturbances.shuffled(disturbances.doubled(replayed.readings), seed=4), share=0.01, seed=5
    )
    group.start(BATCH_MAX_RECORDS="5000")
    await replayed.produce(mixed.records)
    await replayed.until_consumed(len(mixed.records))

    replayed.check_vehicles()
    by_topic = await ledger(replayed.database, replayed.topics)
    assert sum(entry.written for entry in by_topic.values()) == len(replayed.readings)
    assert sum(entry.duplicates for entry in by_topic.values()) == len(replayed.readings)
    dead_letters = await replayed.database.fetch("SELECT key, value, reason, detail FROM dead_letters")
    assert len(mixed.malformed) > 1000
    assert Counter((row["key"], row["value"], row["reason"]) for row in dead_letters) == Counter(
        (each.record.key, each.record.value, each.reason) for each in mixed.malformed
    )
    assert all(row["detail"] for row in dead_letters)


async def test_kills_around_a_commit_and_rebalances_lose_nothing_and_count_nothing_twice(
    replayed: Replay, group: ConsumerGroup
) -> None:
    third = len(replayed.readings) // 3
    small = {"BATCH_MAX_RECORDS": "1000"}

    async with locked_tables(replayed.database):
        await replayed.produce(replayed.readings[:third])
        killed = group.start(**small)
        await until(
            lambda: waits_for_lock(replayed.database),
            "the transaction has claimed offsets and written rows, and is not committed",
        )
        group.kill(killed)
    assert await consumed(replayed.database) == 0

    await _kill_just_after_a_commit(replayed, group, small)

    first, second = group.start(**small), group.start(**small)
    await _until_partitions_are_shared(first, second)
    before = await consumed(replayed.database)
    await replayed.produce(replayed.readings[third : 2 * third])
    await replayed.until_consumed(before + 2000)
    group.kill(first)
    await replayed.produce(replayed.readings[2 * third :])
    third_consumer = group.start(**small)
    await replayed.until_consumed(len(replayed.readings))
    assert group.stop(second) == 0
    assert group.stop(third_consumer) == 0

    replayed.check_vehicles()
    assert await ledger(replayed.database, replayed.topics) == {
        topic: Entry(len(replayed.readings) // 2, len(replayed.readings) // 2, 0, 0)
        for topic in (replayed.topics.meter, replayed.topics.vehicle)
    }


async def _kill_just_after_a_commit(replayed: Replay, group: ConsumerGroup, settings: dict[str, str]) -> None:
    """Repeats until Kafka's offsets are behind the database's: a consumer that used them would write readings twice."""
    while True:
        before = await consumed(replayed.database)
        consumer = group.start(**settings)
        await replayed.until_consumed(before + 1)
        group.kill(consumer)
        stored = await replayed.database.fetch("SELECT topic, partition, next_offset FROM kafka_offsets")
        in_kafka = await committed_in_kafka(replayed.stack, group.environment["KAFKA_GROUP_ID"])
        if any(in_kafka.get((row["topic"], row["partition"]), 0) < row["next_offset"] for row in stored):
            return


async def _until_partitions_are_shared(*consumers: ConsumerProcess) -> None:
    async def each_has_some() -> bool:
        assigned = [consumer.events("partitions_assigned") for consumer in consumers]
        return all(events and len(events[-1]["partitions"]) == 4 for events in assigned)

    await until(each_has_some, "two consumers have four of the eight partitions each")
