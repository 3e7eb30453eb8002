"""Scripts that run on the model of the database and on a real PostgreSQL, and must have the same outcome.

A script gets a function that opens connections, and one that waits until a session waits for a lock. It returns what was seen.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg

from consumer.storage.errors import is_connection_lost
from sql.queries import queries

Connect = Callable[[], Awaitable[Any]]
Blocked = Callable[[Any], Awaitable[None]]
Script = Callable[[Connect, Blocked], Awaitable[list[Any]]]
GROUP: Final = "test"
AT: Final = datetime(2026, 1, 1, 8, tzinfo=UTC)


async def _insert(connection: Any, *topics: str) -> None:
    await queries.insert_missing_offsets(
        connection, consumer_group=GROUP, topics=list(topics), partitions=[0] * len(topics), offsets=[0] * len(topics)
    )


async def _claim(connection: Any, topic: str, expected: int, following: int) -> list[str]:
    rows = queries.claim(
        connection,
        consumer_group=GROUP,
        topics=[topic],
        partitions=[0],
        expected_offsets=[expected],
        next_offsets=[following],
        end_offsets=[following],
        consumed=[following - expected],
        dead_lettered=[0],
        last_offsets=[None],
        last_hashes=[None],
    )
    return [row["topic"] async for row in rows]


async def _offset(connection: Any, topic: str) -> list[int]:
    rows = queries.stored_offsets(connection, consumer_group=GROUP, topics=[topic], partitions=[0])
    return [row["next_offset"] async for row in rows]


async def _insert_reading(connection: Any, kwh: float) -> list[str]:
    rows = queries.insert_new_meter_readings(connection, ids=["M"], times=[AT], kwhs=[kwh], voltages=[230.0])
    return [row[0] async for row in rows]


async def a_claim_waits_for_another_and_finds_the_offset_moved(connect: Connect, blocked: Blocked) -> list[Any]:
    first, second = await connect(), await connect()
    await _insert(first, "meters")
    transaction = first.transaction()
    await transaction.start()
    seen: list[Any] = [await _claim(first, "meters", 0, 3)]
    waiting = asyncio.create_task(_claim(second, "meters", 0, 2))
    await blocked(second)
    await transaction.commit()
    return [*seen, await waiting, await _offset(second, "meters")]


async def a_claim_waits_for_another_that_is_rolled_back(connect: Connect, blocked: Blocked) -> list[Any]:
    first, second = await connect(), await connect()
    await _insert(first, "meters")
    transaction = first.transaction()
    await transaction.start()
    seen: list[Any] = [await _claim(first, "meters", 0, 3)]
    waiting = asyncio.create_task(_claim(second, "meters", 0, 2))
    await blocked(second)
    await transaction.rollback()
    return [*seen, await waiting, await _offset(second, "meters")]


async def a_claim_with_an_old_offset_does_not_wait(connect: Connect, blocked: Blocked) -> list[Any]:
    first, second = await connect(), await connect()
    await _insert(first, "meters")
    async with first.transaction():
        return [await _claim(first, "meters", 0, 3), await _claim(second, "meters", 1, 2)]


async def stored_offsets_wait_for_a_claim_and_a_watch_does_not(connect: Connect, blocked: Blocked) -> list[Any]:
    first, second = await connect(), await connect()
    await _insert(first, "meters")
    transaction = first.transaction()
    await transaction.start()
    await _claim(first, "meters", 0, 3)
    watched = queries.watch_offsets(second, consumer_group=GROUP, topics=["meters"], partitions=[0])
    seen = [row["next_offset"] async for row in watched]
    waiting = asyncio.create_task(_offset(second, "meters"))
    await blocked(second)
    await transaction.commit()
    return [seen, await waiting]


async def a_session_that_holds_a_claim_is_evicted(connect: Connect, blocked: Blocked) -> list[Any]:
    holder, waiter, other = await connect(), await connect(), await connect()
    await _insert(holder, "meters")
    await holder.transaction().start()
    await _claim(holder, "meters", 0, 3)
    waiting = asyncio.create_task(_offset(waiter, "meters"))
    await blocked(waiter)
    pid = waiter.get_server_pid()
    looks: list[Any] = []
    for seen_before in ([], [holder.get_server_pid()]):
        found = queries.evict_holders(other, waiting=pid, patience=0.0, seen=seen_before)
        looks.append([(row["pid"] == holder.get_server_pid(), row["ended"]) async for row in found])
    seen = [looks, await waiting]
    try:
        await _offset(holder, "meters")
    except Exception as error:  # noqa: BLE001 - its kind is what the script is about
        return [*seen, is_connection_lost(error)]
    return seen


async def copies_of_one_reading_in_two_transactions(connect: Connect, blocked: Blocked) -> list[Any]:
    first, second = await connect(), await connect()
    transaction = first.transaction()
    await transaction.start()
    seen: list[Any] = [await _insert_reading(first, 1.0)]
    waiting = asyncio.create_task(_insert_reading(second, 2.0))
    await blocked(second)
    await transaction.commit()
    matched = queries.match_meter_readings(
        second, ids=["M", "M"], times=[AT, AT], kwhs=[1.0, 2.0], voltages=[230.0] * 2
    )
    return [*seen, await waiting, [row["same"] async for row in matched]]


async def claims_in_opposite_order_deadlock(connect: Connect, blocked: Blocked) -> list[Any]:
    first, second = await connect(), await connect()
    await _insert(first, "meters", "vehicles")
    transactions = first.transaction(), second.transaction()
    await transactions[0].start()
    await transactions[1].start()
    await _claim(first, "meters", 0, 1)
    await _claim(second, "vehicles", 0, 1)
    one = asyncio.create_task(_claim(first, "vehicles", 0, 1))
    await blocked(first)
    two = asyncio.create_task(_claim(second, "meters", 0, 1))
    await asyncio.wait({one, two}, return_when=asyncio.FIRST_COMPLETED)  # the one that is told of the deadlock
    loser = 0 if one.done() and one.exception() else 1
    error = (one, two)[loser].exception()
    await transactions[loser].rollback()
    claimed = await (one, two)[1 - loser]
    return [type(error).__name__, len(claimed)]


async def a_failed_transaction_takes_no_statement(connect: Connect, blocked: Blocked) -> list[Any]:
    connection = await connect()
    await _insert(connection, "meters")
    transaction = connection.transaction()
    await transaction.start()
    seen = []
    for count in (-1, 1):
        try:
            await queries.recount(
                connection,
                consumer_group=GROUP,
                topics=["meters"],
                partitions=[0],
                duplicates=[count],
                dead_lettered=[0],
            )
        except asyncpg.PostgresError as error:
            seen.append(type(error).__name__)
    await transaction.rollback()
    return [*seen, await _offset(connection, "meters")]


async def a_cancelled_wait_leaves_the_connection_usable(connect: Connect, blocked: Blocked) -> list[Any]:
    first, second = await connect(), await connect()
    await _insert(first, "meters")
    transaction = first.transaction()
    await transaction.start()
    await _claim(first, "meters", 0, 3)
    waiting = asyncio.create_task(_offset(second, "meters"))
    await blocked(second)
    waiting.cancel()
    await asyncio.wait({waiting})
    await transaction.commit()
    return [waiting.cancelled(), await _offset(second, "meters")]


async def a_halted_partition_is_not_claimed_until_it_is_moved(connect: Connect, blocked: Blocked) -> list[Any]:
    connection = await connect()
    await _insert(connection, "meters")
    place: dict[str, Any] = {"consumer_group": GROUP, "topic": "meters", "partition": 0}
    wrong = await queries.halt(connection, **place, expected_offset=1, reason="why")
    halted = await queries.halt(connection, **place, expected_offset=0, reason="why")
    seen = [wrong is None, halted is not None, await _claim(connection, "meters", 0, 1)]
    moved = await queries.move_offset(connection, **place, expected_offset=0, to_offset=0, other_log=True, reason="why")
    return [*seen, moved is not None, await _claim(connection, "meters", 0, 1)]


async def live_status_moves_forward_only(connect: Connect, blocked: Blocked) -> list[Any]:
    connection = await connect()
    for hour in (9, 8):
        at = AT.replace(hour=hour)
        await queries.upsert_meter_status(connection, ids=["M"], times=[at], kwhs=[float(hour)], voltages=[230.0])
    return [row[1].hour async for row in queries.newest_meter_readings(connection, ids=["M"])]


SCRIPTS: Final[tuple[Script, ...]] = (
    a_claim_waits_for_another_and_finds_the_offset_moved,
    a_claim_waits_for_another_that_is_rolled_back,
    a_claim_with_an_old_offset_does_not_wait,
    stored_offsets_wait_for_a_claim_and_a_watch_does_not,
    a_session_that_holds_a_claim_is_evicted,
    copies_of_one_reading_in_two_transactions,
    claims_in_opposite_order_deadlock,
    a_failed_transaction_takes_no_statement,
    a_cancelled_wait_leaves_the_connection_usable,
    a_halted_partition_is_not_claimed_until_it_is_moved,
    live_status_moves_forward_only,
)
