"""Records that are wrong, refused, or sent again; a disk that is full."""

from aiokafka import TopicPartition

from consumer.records.record_type import RECORDED_AT
from tests.faults.arena import Arena
from tests.support.records import meter
from tests.support.waiting import until

POISON_KWH = 6.66
KWH = RECORDED_AT + 1

NO_SPACE = """
CREATE OR REPLACE FUNCTION space() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100';
END $$;
"""
SPACE_AGAIN = "CREATE OR REPLACE FUNCTION space() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;"


async def forbid_poison(arena: Arena) -> None:
    """A check that only the database knows."""
    await arena.database.execute(
        f"ALTER TABLE meter_telemetry_history ADD CONSTRAINT no_poison CHECK (kwh_consumed_ac <> {POISON_KWH})"
    )
    arena.known.refuses = lambda row: row[KWH] == POISON_KWH
    arena.start(BATCH_MAX_RECORDS="50000")


async def resend_an_hour(arena: Arena, _: int) -> None:
    """Every device sends its last hour again, after a reconnect."""
    if not arena.live:
        arena.start(2)
    await arena.load.send(60)
    await arena.load.settle()
    hour = arena.load.journal[-60 * 100 :]
    await arena.load.send_again(hour)
    await arena.load.send(1)
    await arena.load.settle()
    await arena.caught_up()


async def fail_on_order(arena: Arena) -> None:
    """Every insert asks a function, which can be made to raise without a lock on the table."""
    await arena.database.execute(
        SPACE_AGAIN
        + "CREATE TRIGGER space BEFORE INSERT ON meter_telemetry_history FOR EACH ROW EXECUTE FUNCTION space()"
    )
    arena.start(2)


async def disk_full(arena: Arena, number: int) -> None:
    """COPY fails with 53100 for a while, as it does when the disk is full."""
    await arena.load.send(1)
    await arena.caught_up()
    await arena.database.execute(NO_SPACE)
    await arena.load.send(3)

    async def noticed() -> bool:
        retries = [line for replica in arena.live for line in replica.events("write_retried")]
        return len([line for line in retries if line["sqlstate"] == "53100"]) >= number

    await until(noticed, "a replica reports the full disk")
    assert await arena.database.value("SELECT count(*) FROM dead_letters") == 0
    await arena.database.execute(SPACE_AGAIN)
    await arena.caught_up()


async def poison_in_the_middle(arena: Arena, number: int) -> None:
    """Three rows that only the database refuses, in the middle of 100,000."""
    await arena.load.send(500)
    for each in range(3):
        name = f"METER-poison-{number}-{each}"
        await arena.load.send_value(arena.topics.meter, meter(name, kwh=POISON_KWH), name)
    await arena.load.send(500)
    await arena.load.settle()
    await arena.caught_up()


async def broken_release(arena: Arena, number: int) -> None:
    """A producer release breaks every record of one topic: it is stopped, the other goes on, an operator lets them through."""
    if not arena.live:
        arena.start(2, BREAKER_WINDOW_RECORDS="100")
    await arena.load.send(5)
    await arena.caught_up()
    for each in range(2000):
        await arena.load.send_value(arena.topics.meter, b'{"meterId": "METER-1"}', f"METER-{each}")
    await arena.load.settle()
    other = TopicPartition(arena.topics.vehicle, 0)

    async def stopped() -> bool:
        return arena.topics.meter in (await arena.operator.succeed("breaker", "show"))[0]

    await until(stopped, "the topic is stopped")
    letters = await arena.database.value("SELECT count(*) FROM dead_letters WHERE reason = 'missing_field'")
    assert letters < 2000 * number, "what trips the breaker stays in Kafka"
    await arena.load.send(3)
    await arena.load.settle()

    async def goes_on() -> bool:
        asked = "SELECT next_offset FROM kafka_offsets WHERE topic = $1 AND partition = $2"
        return bool(await arena.database.value(asked, *other) >= arena.load.ends[other])

    await until(goes_on, "the other topic goes on")
    await arena.operator.succeed("breaker", "close", arena.topics.meter, "--let-through")
    await arena.load.send(40)
    await arena.caught_up()

    async def closed() -> bool:
        return "every topic is read" in (await arena.operator.succeed("breaker", "show"))[0]

    await until(closed, "the breaker has closed by itself")
