"""Rows of a batch -> the writer of each kind, in one order; and what became of them all."""

from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Any

from consumer.records.batch import Batch, DeadLetter
from consumer.records.record_type import Kind, RefusedRow, Row
from consumer.records.rows import Arrived
from consumer.storage.newest_readings import NewestReadings

Connection = Any  # asyncpg.Connection, or the pool's proxy of one


@dataclass(frozen=True, slots=True)
class Terms:
    """What the writers of one transaction go by.

    `known` is what this process has seen; `cautious`: look at every row as one that may be stored already. Hours that rows older
    than `late_before` change are marked for the rollups.
    """

    known: NewestReadings
    late_before: datetime
    cautious: bool


@dataclass(frozen=True, slots=True)
class Settled:
    """The newest row written of each device, the records that were stored already, and those that contradict what is stored."""

    newest: dict[Kind, list[Row]] = field(default_factory=dict)
    duplicates: list[Any] = field(default_factory=list)
    conflicts: list[DeadLetter] = field(default_factory=list)


async def write_rows(connection: Connection, batch: Batch, terms: Terms) -> Settled:
    """Write a batch's rows.

    Raises:
        asyncpg.UniqueViolationError: a row believed new is stored already; only when not cautious.
    """
    settled = Settled()
    for kind in sorted(batch.arrived, key=attrgetter("turn")):
        arrived = batch.arrived[kind]
        written = await kind.write(connection, kind, arrived, terms)
        settled.newest[kind] = written.newest
        settled.duplicates.extend(arrived.records_of(written.duplicates))
        settled.conflicts.extend(letters(arrived, written.refused))
    return settled


def letters(arrived: Arrived, refused: list[RefusedRow]) -> list[DeadLetter]:
    """The dead letters of refused rows."""
    records = arrived.records_of(each.row for each in refused)
    return [DeadLetter(record, each.reason, each.detail) for record, each in zip(records, refused, strict=True)]
