"""What each named query does, as a generator over a transaction. A query that is not here fails with its name.

The scripts of `scripts.py` have the same outcome on these and on a real PostgreSQL.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import asyncpg

from sql.queries import queries
from tests.simulation.database.server import Statement, Transaction

Arguments = Mapping[str, Any]


class UnknownQueryError(Exception):
    """The consumer uses a query that the model does not know: teach it in this file."""


class Offsets(NamedTuple):
    """A row of kafka_offsets."""

    start: int
    next: int
    end: int
    consumed: int = 0
    written: int = 0
    duplicate: int = 0
    dead_lettered: int = 0
    incarnation: int = 0
    halt_reason: str | None = None
    last_offset: int | None = None
    last_hash: bytes | None = None
    last_next: int | None = None


class Breaker(NamedTuple):
    """A row of topic_breakers."""

    state: str
    detail: str
    changed_at: datetime


def insert_missing_offsets(tx: Transaction, given: Arguments) -> Statement:
    for topic, partition, offset in zip(given["topics"], given["partitions"], given["offsets"], strict=True):
        if tx.get("offsets", (topic, partition)) is None:
            yield "offsets", (topic, partition)
            if tx.get("offsets", (topic, partition)) is None:
                tx.put(
                    "offsets", (topic, partition), Offsets(offset, offset, offset, last_offset=offset, last_next=offset)
                )


def stored_offsets(tx: Transaction, given: Arguments) -> Statement:
    found = []
    wanted = sorted(zip(given["topics"], given["partitions"], strict=True))
    for key in [each for each in wanted if tx.get("offsets", each) is not None]:
        yield "offsets", key
        row = tx.get("offsets", key)
        found.append(_stored_offset(key, row))
    return found


def watch_offsets(tx: Transaction, given: Arguments) -> Statement:
    yield from ()
    wanted = zip(given["topics"], given["partitions"], strict=True)
    rows = ((key, tx.get("offsets", key)) for key in wanted)
    return [_stored_offset(key, row) for key, row in rows if row is not None]


def _stored_offset(key: tuple[str, int], row: Offsets) -> dict[str, Any]:
    return {
        "topic": key[0],
        "partition": key[1],
        "next_offset": row.next,
        "halt_reason": row.halt_reason,
        "last_record_offset": row.last_offset if row.last_next == row.next else None,
        "last_record_hash": row.last_hash,
    }


def store_log_ends(tx: Transaction, given: Arguments) -> Statement:
    names = "topics", "partitions", "next_offsets", "end_offsets"
    for topic, partition, expected, end in zip(*(given[name] for name in names), strict=True):
        key = topic, partition
        row = tx.get("offsets", key)
        if row is None or row.next != expected or row.end == end or tx.session.server.is_locked(("offsets", key)):
            continue
        yield "offsets", key
        tx.put("offsets", key, row._replace(end=end))


def halt(tx: Transaction, given: Arguments) -> Statement:
    key = given["topic"], given["partition"]
    yield "offsets", key
    row = tx.get("offsets", key)
    if row is None or row.next != given["expected_offset"] or row.halt_reason:
        return []
    tx.put("offsets", key, row._replace(halt_reason=given["reason"]))
    return [{"halt_reason": given["reason"]}]


def evict_holders(tx: Transaction, given: Arguments) -> Statement:
    server, now = tx.session.server, tx.session.server.scheduler.now
    found = []
    for holder in {each.pid: each for each in server.blocking(given["waiting"])}.values():
        began = holder.transaction.began if holder.transaction else holder.request and holder.request.transaction.began
        if began is None or began >= now - given["patience"] or holder.waiting_for is not None:
            continue
        ended = holder.pid in given["seen"] or None
        if ended:
            server.count("session evicted by another consumer")
            server.end(holder, asyncpg.AdminShutdownError("terminating connection due to administrator command"))
        found.append({"pid": holder.pid, "client_addr": None, "xact_start": began, "ended": ended})
    yield from ()
    return found


def claim(tx: Transaction, given: Arguments) -> Statement:
    names = (
        *("topics", "partitions", "expected_offsets", "next_offsets", "end_offsets", "consumed", "dead_lettered"),
        *("last_offsets", "last_hashes"),
    )
    claimed = []
    snapshot = [(each, tx.get("offsets", each[:2])) for each in zip(*(given[name] for name in names), strict=True)]
    for (topic, partition, expected, following, end, consumed, dead, last_offset, last_hash), seen in snapshot:
        if seen is None or seen.next != expected or seen.halt_reason:
            continue
        yield "offsets", (topic, partition)
        row = tx.get("offsets", (topic, partition))
        if row is None or row.next != expected or row.halt_reason:
            continue
        changed = row._replace(
            next=following,
            end=end,
            consumed=row.consumed + consumed,
            written=row.written + consumed - dead,
            dead_lettered=row.dead_lettered + dead,
            last_offset=row.last_offset if last_hash is None else last_offset,
            last_hash=row.last_hash if last_hash is None else last_hash,
            last_next=following if last_hash is not None or row.last_next == row.next else None,
        )
        tx.put("offsets", (topic, partition), _check(changed))
        claimed.append({"topic": topic, "partition": partition, "watermarks": [LATE_BEFORE, FOLDING_BEFORE]})
    return claimed


LATE_BEFORE: Final = datetime(2026, 1, 1, tzinfo=UTC)
FOLDING_BEFORE: Final = datetime.fromtimestamp(0, UTC)  # no day is folded


def recount(tx: Transaction, given: Arguments) -> Statement:
    names = "topics", "partitions", "duplicates", "dead_lettered"
    for topic, partition, duplicates, dead in zip(*(given[name] for name in names), strict=True):
        yield "offsets", (topic, partition)
        row = tx.get("offsets", (topic, partition))
        changed = row._replace(
            written=row.written - duplicates - dead,
            duplicate=row.duplicate + duplicates,
            dead_lettered=row.dead_lettered + dead,
        )
        tx.put("offsets", (topic, partition), _check(changed))


def _check(row: Offsets) -> Offsets:
    """The check constraints of kafka_offsets."""
    if row.consumed != row.written + row.duplicate + row.dead_lettered or min(row[3:7]) < 0 or row.next < row.start:
        raise asyncpg.CheckViolationError("new row for relation kafka_offsets violates check constraint")
    return row


def _newest(table: str) -> Callable[[Transaction, Arguments], Statement]:
    def newest(tx: Transaction, given: Arguments) -> Statement:
        yield from ()
        rows = ((each, tx.get(table, each)) for each in given["ids"])
        return [(each, row[0]) for each, row in rows if row is not None]

    return newest


def _insert_new(table: str, values: tuple[str, ...]) -> Callable[[Transaction, Arguments], Statement]:
    def insert_new(tx: Transaction, given: Arguments) -> Statement:
        inserted = []
        for device, at, *rest in _rows(given, values):
            if tx.get(table, (device, at)) is None:
                yield table, (device, at)
                if tx.get(table, (device, at)) is None:
                    tx.put(table, (device, at), tuple(rest))
                    inserted.append((device, at))
        return inserted

    return insert_new


def _match(table: str, values: tuple[str, ...]) -> Callable[[Transaction, Arguments], Statement]:
    def match(tx: Transaction, given: Arguments) -> Statement:
        yield from ()
        same = []
        for device, at, *rest in _rows(given, values):
            stored = tx.get(table, (device, at))
            same.append({"same": None if stored is None else stored == tuple(rest)})
        return same

    return match


def _upsert(table: str, values: tuple[str, ...]) -> Callable[[Transaction, Arguments], Statement]:
    def upsert(tx: Transaction, given: Arguments) -> Statement:
        for device, at, *rest in _rows(given, values):
            yield table, device
            live = tx.get(table, device)
            if live is None or at > live[0]:
                tx.put(table, device, (at, *rest))

    return upsert


def _rows(given: Arguments, values: tuple[str, ...]) -> Iterable[tuple[Any, ...]]:
    return zip(given["ids"], given["times"], *(given[name] for name in values), strict=True)


def copy_rows(table: str, rows: list[tuple[Any, ...]]) -> Callable[[Transaction], Statement]:
    """COPY into a history table; a row that is stored already is a unique violation."""

    def copy(tx: Transaction) -> Statement:
        for device, at, *rest in rows:
            yield table, (device, at)
            if tx.get(table, (device, at)) is not None:
                raise asyncpg.UniqueViolationError(f"duplicate key value violates unique constraint of {table}")
            tx.put(table, (device, at), tuple(rest))

    return copy


def mark_late(tx: Transaction, given: Arguments) -> Statement:
    for device, hour in zip(given["devices"], given["hours"], strict=True):
        tx.put("late", (given["side"], device, hour), True)
    yield from ()


def insert_dead_letters(tx: Transaction, given: Arguments) -> Statement:
    names = "topics", "partitions", "offsets", "values", "reasons"
    inserted = []
    for topic, partition, offset, value, reason in zip(*(given[name] for name in names), strict=True):
        key = topic, partition, offset, tx.get("offsets", (topic, partition)).incarnation
        if tx.get("letters", key) is None:
            yield "letters", key
            if tx.get("letters", key) is None:
                tx.put("letters", key, (value, reason))
                inserted.append({"topic": topic, "partition": partition, "offset": offset})
    return inserted


def breakers(tx: Transaction, given: Arguments) -> Statement:
    yield from ()
    return [{"topic": topic} | row._asdict() for topic, row in sorted(tx.tables["breakers"].items())]


def time_of_day(tx: Transaction, given: Arguments) -> Statement:
    yield from ()
    return [{"seconds": _now(tx).timestamp()}]


def open_breaker(tx: Transaction, given: Arguments) -> Statement:
    topic = given["topic"]
    if tx.get("breakers", topic) is None:
        yield "breakers", topic
        if tx.get("breakers", topic) is None:
            tx.put("breakers", topic, Breaker("open", given["detail"], _now(tx)))


def stop_topic(tx: Transaction, given: Arguments) -> Statement:
    topic = given["topic"]
    yield "breakers", topic
    row = tx.get("breakers", topic)
    if row is None or row.state != "open":
        tx.put("breakers", topic, Breaker("open", given["detail"], _now(tx)))


def end_let_through(tx: Transaction, given: Arguments) -> Statement:
    topic = given["topic"]
    yield "breakers", topic
    row = tx.get("breakers", topic)
    if row is None or row.state != "letting_through" or row.changed_at != given["since"]:
        return []
    tx.put("breakers", topic, None)
    return [{"topic": topic}]


def let_through(tx: Transaction, given: Arguments) -> Statement:
    topic = given["topic"]
    yield "breakers", topic
    row = tx.get("breakers", topic)
    if row is None:
        return []
    tx.put("breakers", topic, row._replace(state="letting_through", changed_at=_now(tx)))
    return [{"topic": topic}]


def close_breaker(tx: Transaction, given: Arguments) -> Statement:
    topic = given["topic"]
    yield "breakers", topic
    found = tx.get("breakers", topic) is not None
    tx.put("breakers", topic, None)
    return [{"topic": topic}] if found else []


def move_offset(tx: Transaction, given: Arguments) -> Statement:
    key = given["topic"], given["partition"]
    yield "offsets", key
    row = tx.get("offsets", key)
    if row is None or row.next != given["expected_offset"]:
        return []
    to = given["to_offset"]
    changed = row._replace(
        next=to, start=min(row.start, to), halt_reason=None, last_offset=to, last_hash=None, last_next=to
    )
    if given["other_log"] or row.halt_reason:
        changed = changed._replace(incarnation=row.incarnation + 1)
    tx.put("offsets", key, changed)
    tx.put("decisions", (*key, row.next, to, _now(tx)), given["reason"])
    return [{"topic": key[0]}]


def _now(tx: Transaction) -> datetime:
    return datetime.fromtimestamp(EPOCH + tx.session.server.scheduler.now, UTC)


EPOCH: Final = datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()  # seconds since 1970 at virtual time 0
_METER: Final = ("kwhs", "voltages")
_VEHICLE: Final = ("kwhs", "socs", "temperatures")

STATEMENTS: Final[dict[str, Callable[[Transaction, Arguments], Statement]]] = {
    "insert_missing_offsets": insert_missing_offsets,
    "stored_offsets": stored_offsets,
    "watch_offsets": watch_offsets,
    "store_log_ends": store_log_ends,
    "halt": halt,
    "evict_holders": evict_holders,
    "claim": claim,
    "recount": recount,
    "newest_meter_readings": _newest("meter_live"),
    "newest_vehicle_readings": _newest("vehicle_live"),
    "insert_new_meter_readings": _insert_new("meter", _METER),
    "insert_new_vehicle_readings": _insert_new("vehicle", _VEHICLE),
    "match_meter_readings": _match("meter", _METER),
    "match_vehicle_readings": _match("vehicle", _VEHICLE),
    "upsert_meter_status": _upsert("meter_live", _METER),
    "upsert_vehicle_status": _upsert("vehicle_live", _VEHICLE),
    "mark_late": mark_late,
    "insert_dead_letters": insert_dead_letters,
    "breakers": breakers,
    "open_breaker": open_breaker,
    "stop_topic": stop_topic,
    "end_let_through": end_let_through,
    "let_through": let_through,
    "close_breaker": close_breaker,
    "move_offset": move_offset,
    "time_of_day": time_of_day,
}
# Tables of the database by the names that COPY uses.
HISTORIES: Final = {"meter_telemetry_history": "meter", "vehicle_telemetry_history": "vehicle"}

_NAMES: Final = {getattr(queries, name).sql: name for name in queries.available_queries if not name.endswith("_cursor")}
_PARAMETERS: Final = {name: tuple(queries.driver_adapter.var_sorted[name]) for name in _NAMES.values()}


def statement(sql: str, arguments: tuple[Any, ...]) -> Callable[[Transaction], Statement]:
    """The statement of a named query's text and its positional arguments."""
    name = _NAMES.get(sql, sql)
    if name not in STATEMENTS:
        raise UnknownQueryError(f"{name}: the model of the database does not know this query")
    run, given = STATEMENTS[name], dict(zip(_PARAMETERS[name], arguments, strict=True))
    return lambda tx: run(tx, given)
