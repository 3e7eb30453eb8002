"""Records that are wrong, refused, or sent again; a disk that is full."""

from tests.faults.arena import Arena
from tests.records import meter
from tests.waiting import until

POISON_KWH = 6.66


async def forbid_poison(arena: Arena) -> None:
    """A check that only the database knows; 0.66 of a percent of what comes breaks it."""
    await arena.database.execute(
        f"ALTER TABLE meter_telemetry_history ADD CONSTRAINT no_poison CHECK (kwh_consumed_ac <> {POISON_KWH})"
    )
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


async def disk_full(arena: Arena, _: int) -> None:
    """COPY fails with 53100 for a while, as it does when the disk is full."""
    if not arena.live:
        arena.start(2)
    await arena.load.send(1)
    await arena.caught_up()
    await arena.database.execute(
        "CREATE FUNCTION no_space() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$; "
        "CREATE TRIGGER no_space BEFORE INSERT ON meter_telemetry_history FOR EACH ROW EXECUTE FUNCTION no_space()"
    )
    await arena.load.send(3)

    async def noticed() -> bool:
        return any(line["sqlstate"] == "53100" for replica in arena.live for line in replica.events("write_retried"))

    await until(noticed, "a replica reports the full disk")
    assert await arena.database.value("SELECT count(*) FROM dead_letters") == 0
    await arena.database.execute("DROP TRIGGER no_space ON meter_telemetry_history; DROP FUNCTION no_space()")
    await arena.caught_up()


async def poison_in_the_middle(arena: Arena, number: int) -> None:
    """Three rows that only the database refuses, in the middle of thousands."""
    await arena.load.send(100)
    for each in range(3):
        name = f"METER-poison-{number}-{each}"
        await arena.load.send_value(arena.topics.meter, meter(name, kwh=POISON_KWH), name)
    await arena.load.send(100)
    await arena.load.settle()
    await arena.caught_up()
