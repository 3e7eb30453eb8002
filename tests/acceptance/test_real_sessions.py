"""992 real charging sessions, minute by minute through Kafka; the answers are known from the file alone."""

from collections import Counter

import pytest
from playwright.async_api import expect

from tests.acceptance.conftest import Station
from tests.support.browser import CHROMIUM, NO_CHROMIUM, browser_tab
from tests.support.database import locked_tables, waits_for_lock
from tests.support.ledger import Entry, committed_in_kafka, ledger
from tests.support.services import ConsumerGroup, ConsumerProcess
from tests.support.simulator import disturbances, replay
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


async def test_every_session_comes_out_as_it_went_in(station: Station, group: ConsumerGroup) -> None:
    group.start()
    await station.produce(station.readings)
    await station.until_consumed(len(station.readings))

    station.check_answers()
    per_side = len(station.readings) // 2
    assert await ledger(station.database, station.topics) == {
        station.topics.meter: Entry(per_side, per_side, 0, 0),
        station.topics.vehicle: Entry(per_side, per_side, 0, 0),
    }

    await station.maintain()
    station.check_answers()
    station.check_fleet()


async def test_the_page_shows_what_the_file_says(station: Station, group: ConsumerGroup) -> None:
    if CHROMIUM is None:
        pytest.skip(NO_CHROMIUM)
    newest = max(station.visits, key=lambda visit: visit.valid_to)
    sent = [each for each in station.readings if each.at_ms >= newest.valid_from.timestamp() * 1000]
    group.start()
    await station.produce(sent)
    await station.until_consumed(len(sent))

    expected = replay.expected_vehicles(station.visits)[newest.vehicle_id]
    async with browser_tab(str(station.api.base_url)) as page:
        await page.open(f"#/vehicle/{newest.vehicle_id}")
        await expect(page.value("dataPoints")).to_have_text(f"{expected.points:,}")
        for name, known in (
            ("totalEnergyConsumedAc", expected.ac_kwh),
            ("totalEnergyDeliveredDc", expected.dc_kwh),
            ("averageBatteryTemp", expected.average_battery_temp),
        ):
            shown = float(await page.value(name).get_attribute("value") or "")
            assert shown == pytest.approx(known, rel=1e-6), name
        await expect(page.value("efficiencyRatio")).to_have_text("95.00 %")


async def test_twice_shuffled_and_with_rubbish_among_them_the_answers_are_the_same(
    station: Station, group: ConsumerGroup
) -> None:
    mixed = disturbances.with_malformed(
        disturbances.shuffled(disturbances.doubled(station.readings), seed=4), share=0.01, seed=5
    )
    group.start(BATCH_MAX_RECORDS="5000")
    await station.produce(mixed.records)
    await station.until_consumed(len(mixed.records))

    station.check_answers()
    by_topic = await ledger(station.database, station.topics)
    assert sum(entry.written for entry in by_topic.values()) == len(station.readings)
    assert sum(entry.duplicates for entry in by_topic.values()) == len(station.readings)
    letters = await station.database.fetch("SELECT key, value, reason, detail FROM dead_letters")
    assert len(mixed.malformed) > 1000
    assert Counter((row["key"], row["value"], row["reason"]) for row in letters) == Counter(
        (each.record.key, each.record.value, each.reason) for each in mixed.malformed
    )
    assert all(row["detail"] for row in letters)


async def test_killed_before_and_after_commit_and_rebalanced_nothing_is_lost_or_counted_twice(
    station: Station, group: ConsumerGroup
) -> None:
    third = len(station.readings) // 3
    small = {"BATCH_MAX_RECORDS": "1000"}

    async with locked_tables(station.database):
        await station.produce(station.readings[:third])
        doomed = group.start(**small)
        await until(
            lambda: waits_for_lock(station.database), "the transaction has claimed and copied, and is not committed"
        )
        group.kill(doomed)
    assert await station.consumed() == 0

    await _kill_just_after_a_commit(station, group, small)

    first, second = group.start(**small), group.start(**small)
    await _share_the_partitions(first, second)
    before = await station.consumed()
    await station.produce(station.readings[third : 2 * third])
    await station.until_consumed(before + 2000)
    group.kill(first)
    await station.produce(station.readings[2 * third :])
    third_replica = group.start(**small)
    await station.until_consumed(len(station.readings))
    assert group.stop(second) == 0
    assert group.stop(third_replica) == 0

    station.check_answers()
    assert await ledger(station.database, station.topics) == {
        topic: Entry(len(station.readings) // 2, len(station.readings) // 2, 0, 0)
        for topic in (station.topics.meter, station.topics.vehicle)
    }


async def _kill_just_after_a_commit(station: Station, group: ConsumerGroup, settings: dict[str, str]) -> None:
    """Until Kafka's own offsets are behind the database's: who believed them would write readings a second time."""
    while True:
        before = await station.consumed()
        replica = group.start(**settings)
        await station.until_consumed(before + 1)
        group.kill(replica)
        stored = await station.database.fetch("SELECT topic, partition, next_offset FROM kafka_offsets")
        in_kafka = await committed_in_kafka(station.stack, group.environment["KAFKA_GROUP_ID"])
        if any(in_kafka.get((row["topic"], row["partition"]), 0) < row["next_offset"] for row in stored):
            return


async def _share_the_partitions(*replicas: ConsumerProcess) -> None:
    async def each_has_some() -> bool:
        assigned = [replica.events("partitions_assigned") for replica in replicas]
        return all(events and len(events[-1]["partitions"]) == 4 for events in assigned)

    await until(each_has_some, "two replicas have four of the eight partitions each")
