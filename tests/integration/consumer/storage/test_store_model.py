"""The store, compared with a model of a few lines: batches of two competing consumers, while days are folded and merged."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest
from aiokafka import TopicPartition
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from consumer.storage.errors import FencedError
from consumer.storage.offsets import StoredOffsets
from consumer.storage.store import Store
from sql.connection import WRITER_SETTINGS, pool
from tests.support.database import Database
from tests.support.database_rows import FORGET_WATERMARKS, Levels, change_levels
from tests.support.ledger import Entry, Topics, ledger
from tests.support.records import batch, meter, minute, records

TOPICS = Topics("meter-readings", "vehicle-readings", 2)
TABLES = "kafka_offsets, meter_telemetry_history, meter_live_status, dead_letters, meter_days, meter_late_readings"
MALFORMED = b"{}"
MIDNIGHTS = [minute(12 * 60 + day * 1440) for day in (-4, -3, -2)]


def instant(number: int) -> datetime:
    """Two on one day, two on the next."""
    return MIDNIGHTS[0] + timedelta(hours=10 * number)


GOOD = st.tuples(st.sampled_from("AB"), st.integers(0, 3), st.sampled_from([0.5, 0.75]))
VALUES = (GOOD | GOOD | GOOD | st.just(None)).map(
    lambda each: meter(each[0], instant(each[1]), each[2]) if each else MALFORMED
)


@dataclass(frozen=True, slots=True)
class Step:
    """A batch of two partitions, written by one of two consumers; a stale batch begins where the last write began."""

    consumer: int
    values: tuple[list[bytes], list[bytes]]
    stale: bool


STEPS = st.lists(
    st.sampled_from(Levels)
    | st.builds(
        Step,
        consumer=st.integers(0, 1),
        values=st.tuples(st.lists(VALUES, max_size=5), st.lists(VALUES, max_size=5)).filter(any),
        stale=st.sampled_from([False, False, False, True]),
    ),
    min_size=1,
    max_size=10,
)


@dataclass(slots=True)
class Model:
    """The first reading of an identity is stored, an equal one is a duplicate, a different one is a dead letter."""

    offsets: list[int] = field(default_factory=lambda: [0, 0])
    stored: dict[tuple[str, datetime], bytes] = field(default_factory=dict)
    entry: Entry = field(default_factory=lambda: Entry(0, 0, 0, 0))
    letters: set[tuple[int, int]] = field(default_factory=set)

    def write(self, values: tuple[list[bytes], list[bytes]], identities: dict[bytes, tuple[str, datetime]]) -> None:
        consumed, written, duplicates, dead = (
            self.entry.consumed, self.entry.written, self.entry.duplicates, self.entry.dead_lettered,
        )  # fmt: skip
        for partition, of_partition in enumerate(values):
            for value in of_partition:
                consumed += 1
                identity = identities.get(value)
                if identity is not None and identity not in self.stored:
                    self.stored[identity] = value
                    written += 1
                elif identity is not None and self.stored[identity] == value:
                    duplicates += 1
                else:
                    dead += 1
                    self.letters.add((partition, self.offsets[partition]))
                self.offsets[partition] += 1
        self.entry = Entry(consumed, written, duplicates, dead)


IDENTITIES = {
    meter(device, instant(number), kwh): (device, instant(number))
    for device in "AB"
    for number in range(4)
    for kwh in (0.5, 0.75)
}


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as running:
        yield running


def test_every_batch_has_the_effect_of_the_model_or_none(runner: asyncio.Runner, database: Database) -> None:
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(STEPS)
    def check(steps: list[Step | Levels]) -> None:
        runner.run(_check(database, steps))

    check()


async def _check(database: Database, steps: list[Step | Levels]) -> None:
    await database.execute(f"TRUNCATE {TABLES}; {FORGET_WATERMARKS}")
    owner, midnights = await asyncpg.connect(database.migrator_url), iter(MIDNIGHTS[1:])
    model, partitions = Model(), [TopicPartition("meter-readings", number) for number in range(2)]
    async with pool(SecretStr(database.writer_url), size=2, server_settings=WRITER_SETTINGS, command_timeout=30) as to:
        await StoredOffsets(to, "test").insert_missing(dict.fromkeys(partitions, 0))
        stores = [Store(to, "test"), Store(to, "test")]
        before = list(model.offsets)
        for step in steps:
            if isinstance(step, Levels):
                await change_levels(owner, step, midnights)
                continue
            offsets = before if step.stale else list(model.offsets)
            moved = any(
                values and model.offsets[number] != offsets[number] for number, values in enumerate(step.values)
            )
            write = stores[step.consumer].write(_batch(step, offsets))
            if moved:
                with pytest.raises(FencedError):
                    await write
                continue
            before = list(model.offsets)
            await write
            model.write(step.values, IDENTITIES)
    await owner.close()
    await _compare(database, model)


def _batch(step: Step, offsets: list[int]) -> Any:
    return batch(
        *[
            records(values, partition=number, offset=offsets[number])
            for number, values in enumerate(step.values)
            if values
        ]
    )


async def _compare(database: Database, model: Model) -> None:
    assert (await ledger(database, TOPICS))["meter-readings"] == model.entry
    history = await database.fetch("SELECT meter_id, recorded_at, kwh_consumed_ac FROM meter_readings")
    assert {meter(row[0], row[1], row[2]): (row[0], row[1]) for row in history} == {
        value: identity for identity, value in model.stored.items()
    }
    live = {tuple(row) for row in await database.fetch("SELECT meter_id, recorded_at FROM meter_live_status")}
    assert live == {
        (device, max(at for each, at in model.stored if each == device))
        for device in {each for each, _ in model.stored}
    }
    letters = {tuple(row) for row in await database.fetch('SELECT partition, "offset" FROM dead_letters')}
    assert letters == model.letters
    offsets = await database.fetch("SELECT next_offset FROM kafka_offsets ORDER BY partition")
    assert [row[0] for row in offsets] == model.offsets
