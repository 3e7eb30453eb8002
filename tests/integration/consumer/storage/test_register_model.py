"""Registers, compared with a model of a few lines: random order, batches, repetitions, refreshes, folded and merged days."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import fsum
from typing import Any

import asyncpg
import pytest
from aiokafka import TopicPartition
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from consumer.storage.offsets import StoredOffsets
from consumer.storage.store import Store
from sql.connection import WRITER_SETTINGS, pool
from sql.maintenance.rollups import refresh_rollups
from tests.support.database import Database
from tests.support.database_rows import FORGET_WATERMARKS, Levels, change_levels
from tests.support.ledger import Entry, Topics, ledger
from tests.support.records import batch, minute, records, register

TOPICS = Topics("meter-readings", "vehicle-readings", 1)
PARTITION = TopicPartition("register-readings", 0)
TABLES = (
    "kafka_offsets, meter_telemetry_history, meter_register_history, meter_live_status, dead_letters, meter_energy_hourly, "
    "late_hours, meter_days, register_days, meter_late_readings, register_late_readings"
)
JITTER = 1.0
EVERY = 10  # minutes between two readings with consecutive numbers
PER_NIGHT = 12  # readings, from 23:00 to 00:50
NIGHTS = 3
HOURS = [night * 1440 + hour * 60 for night in range(NIGHTS) for hour in (11, 12)]  # minutes from the first noon
Reading = tuple[str, int, float]  # meter, number of the reading, kWh


@dataclass(slots=True)
class Model:
    """The first reading of an identity is stored; intervals follow from the stored ones, in the order of the meter's clock."""

    stored: dict[tuple[str, int], float] = field(default_factory=dict)
    entry: Entry = field(default_factory=lambda: Entry(0, 0, 0, 0))

    def write(self, readings: list[Reading]) -> None:
        written = duplicates = dead = 0
        for meter_id, number, kwh in readings:
            before = self.stored.get((meter_id, number))
            if before is None:
                self.stored[meter_id, number] = kwh
                written += 1
            elif before == kwh:
                duplicates += 1
            else:
                dead += 1
        was = self.entry
        self.entry = Entry(
            was.consumed + len(readings), was.written + written, was.duplicates + duplicates, was.dead_lettered + dead
        )

    def intervals(self) -> dict[tuple[str, int], float]:
        walks: dict[str, Walk] = {}
        found: dict[tuple[str, int], float] = {}
        for (meter_id, number), kwh in sorted(self.stored.items()):
            if meter_id in walks:
                found[meter_id, number] = walks[meter_id].step(minutes(number), kwh)
            else:
                walks[meter_id] = Walk(minutes(number), kwh)
                found[meter_id, number] = 0.0
        return found


@dataclass(slots=True)
class Walk:
    """A walk along the readings of one meter. `error`: the register before a suspicious one, and the minute when it was read."""

    at: int
    high: float
    error: tuple[float, int] | None = None

    def step(self, at: int, kwh: float) -> float:
        """The energy of the interval that ends at a minute with a register."""
        was, high, self.at = self.at, self.high, at
        if self.error and abs(kwh - high) > JITTER and self._is_back(at, kwh, *self.error):
            energy = max(kwh - self.error[0], 0.0)
            self.high, self.error = max(kwh, self.error[0]), None
            return energy
        suspicious, energy = False, 0.0
        if not high - JITTER <= kwh < high:
            energy = kwh - high if kwh >= high else kwh
            suspicious = kwh < high or energy > most(at - was)
            energy = energy if energy <= most(at - was) else 0.0
            self.high = kwh
        if suspicious and not self.error:
            self.error = high, was
        elif self.error and (energy > JITTER or at - self.error[1] > 60):
            self.error = None
        return energy

    @staticmethod
    def _is_back(at: int, kwh: float, before: float, before_at: int) -> bool:
        return at - before_at <= 1440 and before - JITTER <= kwh <= before + most(at - before_at)


def most(minutes: int) -> float:
    """kWh that a charger can deliver."""
    return 1000 * minutes / 60


@dataclass(frozen=True, slots=True)
class Write:
    """One batch."""

    readings: list[Reading]


@dataclass(frozen=True, slots=True)
class Refresh:
    """A refresh of the rollups at the beginning of an hour."""

    minute: int


NUMBERS = st.integers(0, NIGHTS * PER_NIGHT - 1)
# Steps of a register: forward, jitter up to its limit, resets, replaced meters, implausible jumps, and errors that end.
KWHS = st.sampled_from(
    [0.0, 0.25, 1.0, 5.0, 9.5, 10.0, 10.5, 11.0, 12.0, 170.0, 176.0, 177.0, 343.0, 500.0, 500.5, 650.0, 2500.0, 1e9]
)
READINGS = st.tuples(st.sampled_from(["A", "B"]), NUMBERS, KWHS)
STEPS = st.lists(
    st.lists(READINGS, min_size=1, max_size=12).map(Write)
    | st.sampled_from(HOURS).map(Refresh)
    | st.sampled_from(Levels),
    min_size=1,
    max_size=12,
)


def minutes(number: int) -> int:
    """When a reading was taken, from the first noon on: a dozen around each midnight."""
    return number // PER_NIGHT * 1440 + 660 + number % PER_NIGHT * EVERY


def instant(from_first_noon: int) -> datetime:
    return minute(from_first_noon - (NIGHTS + 1) * 1440)


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as running:
        yield running


def test_intervals_live_status_and_totals_equal_those_of_the_model(runner: asyncio.Runner, database: Database) -> None:
    @settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
    @given(STEPS)
    def check(steps: list[Write | Refresh | Levels]) -> None:
        runner.run(_check(database, steps))

    check()


async def _check(database: Database, steps: list[Write | Refresh | Levels]) -> None:
    await database.execute(f"TRUNCATE {TABLES}; {FORGET_WATERMARKS}")
    model, offset, midnights = Model(), 0, iter([instant(720 + night * 1440) for night in range(NIGHTS)])
    owner = await asyncpg.connect(database.migrator_url)
    async with pool(SecretStr(database.writer_url), size=2, server_settings=WRITER_SETTINGS, command_timeout=30) as to:
        await StoredOffsets(to, "test").insert_missing({PARTITION: 0})
        stores = [
            Store(to, "test"),
            Store(to, "test"),
        ]  # the cache of the second does not know what the first has written
        for number, step in enumerate(steps):
            if isinstance(step, Refresh):
                await refresh_rollups(owner, instant(step.minute), grace=timedelta(0))
            elif isinstance(step, Levels):
                await change_levels(owner, step, midnights)
            else:
                values = [register(meter_id, instant(minutes(at)), kwh) for meter_id, at, kwh in step.readings]
                await stores[number % 2].write(batch(records(values, topic=PARTITION.topic, offset=offset)))
                offset += len(values)
                model.write(step.readings)
            await _compare(owner, model)
    await owner.close()
    assert (await ledger(database, TOPICS))[PARTITION.topic] == model.entry


async def _compare(connection: Any, model: Model) -> None:
    intervals = model.intervals()
    rows = await connection.fetch("SELECT meter_id, recorded_at, kwh_consumed_ac FROM meter_readings WHERE derived")
    assert {(row[0], _number(row[1])): row[2] for row in rows} == intervals
    live = await connection.fetch("SELECT meter_id, recorded_at, last_kwh_consumed_ac FROM meter_live_status")
    newest = dict(sorted(intervals))
    assert {row[0]: (_number(row[1]), row[2]) for row in live} == {
        meter_id: (number, intervals[meter_id, number]) for meter_id, number in newest.items()
    }
    for meter_id in newest:
        hours = [await _energy(connection, meter_id, hour, hour + 60) for hour in HOURS]
        for hour, found in zip(HOURS, hours, strict=True):
            of_hour = [
                kwh
                for (each, number), kwh in intervals.items()
                if each == meter_id and hour <= minutes(number) < hour + 60
            ]
            assert found == (pytest.approx(fsum(of_hour)), len(of_hour))
        whole = await _energy(connection, meter_id, 0, NIGHTS * 1440)
        assert whole == (pytest.approx(fsum(kwh for kwh, _ in hours)), sum(points for _, points in hours))


async def _energy(connection: Any, meter_id: str, opens: int, closes: int) -> tuple[Any, int]:
    """kWh and number of readings of a meter between two minutes, as the queries see them."""
    row = await connection.fetchrow(
        "SELECT coalesce(kwh, 0) AS kwh, readings "
        "FROM rollup_state, meter_energy($1, $2, $3, rollup_state.complete_before)",
        meter_id, instant(opens), instant(closes),
    )  # fmt: skip
    return row["kwh"], row["readings"]


def _number(at: datetime) -> int:
    from_noon = round((at - instant(0)).total_seconds() / 60)
    return from_noon // 1440 * PER_NIGHT + (from_noon % 1440 - 660) // EVERY
