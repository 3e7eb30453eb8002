"""Attacks with data: records that are malformed, rejected by the database or sent again; a full disk."""

from aiokafka import TopicPartition

from tests.faults.testbed import Testbed
from tests.support.records import meter
from tests.support.waiting import until

REJECTED_KWH = 6.66

RAISE_DISK_FULL = """
CREATE OR REPLACE FUNCTION space() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100';
END $$;
"""
ALLOW_INSERTS = "CREATE OR REPLACE FUNCTION space() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;"


async def add_check_constraint(testbed: Testbed) -> None:
    """Preparation: a constraint that rejects one value, which the consumer cannot know."""
    await testbed.database.execute(
        f"ALTER TABLE meter_telemetry_history ADD CONSTRAINT no_poison CHECK (kwh_consumed_ac <> {REJECTED_KWH})"
    )
    testbed.changes.rejects = lambda reading: reading.values[0] == REJECTED_KWH
    testbed.start(BATCH_MAX_RECORDS="50000")


async def send_rejected_rows(testbed: Testbed, number: int) -> None:
    """Send three rows that violate the constraint in the middle of 100,000 good ones."""
    await testbed.load.send(500)
    for each in range(3):
        name = f"METER-poison-{number}-{each}"
        await testbed.load.send_value(testbed.topics.meter, meter(name, kwh=REJECTED_KWH), name)
    await testbed.load.send(500)
    await testbed.load.stop_sending()
    await testbed.until_caught_up()


async def resend_an_hour(testbed: Testbed, _: int) -> None:
    """Every device sends its last hour again, as after a reconnect."""
    if not testbed.running:
        testbed.start(2)
    await testbed.load.send(60)
    await testbed.load.stop_sending()
    readings = testbed.topics.meter, testbed.topics.vehicle
    last_hour = [each for each in testbed.load.journal if each.partition.topic in readings][-60 * 100 :]
    await testbed.load.resend(last_hour)
    await testbed.load.send(1)
    await testbed.load.stop_sending()
    await testbed.until_caught_up()


async def add_insert_trigger(testbed: Testbed) -> None:
    """Preparation: every insert calls a function, which can be replaced by one that raises without locking the table."""
    await testbed.database.execute(
        ALLOW_INSERTS
        + "CREATE TRIGGER space BEFORE INSERT ON meter_telemetry_history FOR EACH ROW EXECUTE FUNCTION space()"
    )
    testbed.start(2)


async def fill_disk(testbed: Testbed, number: int) -> None:
    """COPY fails with SQLSTATE 53100 for a while, as it does when the disk is full."""
    await testbed.load.send(1)
    await testbed.until_caught_up()
    await testbed.database.execute(RAISE_DISK_FULL)
    await testbed.load.send(3)

    async def is_reported() -> bool:
        retries = [line for consumer in testbed.running for line in consumer.events("write_retried")]
        return len([line for line in retries if line["sqlstate"] == "53100"]) >= number

    await until(is_reported, "a consumer reports the full disk")
    assert await testbed.database.value("SELECT count(*) FROM dead_letters WHERE reason = 'refused_by_database'") == 0
    await testbed.database.execute(ALLOW_INSERTS)
    await testbed.until_caught_up()


async def break_producer_release(testbed: Testbed, number: int) -> None:
    """A release of the producer breaks every record of one topic: the breaker stops that topic alone, and an operator lets the
    records through.
    """
    if not testbed.running:
        testbed.start(2, BREAKER_WINDOW_RECORDS="100")
    await testbed.load.send(5)
    await testbed.until_caught_up()
    for each in range(2000):
        await testbed.load.send_value(testbed.topics.meter, b'{"meterId": "METER-1"}', f"METER-{each}")
    await testbed.load.stop_sending()
    await until(lambda: _breaker_shows(testbed, testbed.topics.meter), "the topic is stopped")
    dead_letters = await testbed.database.value("SELECT count(*) FROM dead_letters WHERE reason = 'missing_field'")
    assert dead_letters < 2000 * number, "what trips the breaker stays in Kafka"
    await testbed.load.send(3)
    await testbed.load.stop_sending()
    await _until_consumed(testbed, TopicPartition(testbed.topics.vehicle, 0))
    await testbed.operator.succeed("breaker", "close", testbed.topics.meter, "--let-through")
    await testbed.load.send(40)
    await testbed.until_caught_up()
    await until(lambda: _breaker_shows(testbed, "no topic is stopped"), "the breaker has closed by itself")


async def _breaker_shows(testbed: Testbed, text: str) -> bool:
    return text in (await testbed.operator.succeed("breaker", "show"))[0]


async def _until_consumed(testbed: Testbed, partition: TopicPartition) -> None:
    async def is_consumed() -> bool:
        next_offset = "SELECT next_offset FROM kafka_offsets WHERE topic = $1 AND partition = $2"
        return bool(await testbed.database.value(next_offset, *partition) >= testbed.load.end_offsets[partition])

    await until(is_consumed, f"{partition} is consumed")
