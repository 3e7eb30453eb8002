"""Whole lists of records, disturbed so that the exact outcome is still known: for acceptance tests and fault runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from random import Random

from deploy.simulator.malformed import VARIETIES, spoilt
from deploy.simulator.readings import Record
from schemas.records.readings import Reason


@dataclass(frozen=True, slots=True)
class Spoilt:
    """A malformed record and the reason code it must be refused with."""

    record: Record
    reason: Reason


@dataclass(frozen=True, slots=True)
class Mixed:
    """`records` to send, in order; those in `malformed` among them must become dead letters, and no others."""

    records: list[Record]
    malformed: list[Spoilt]


def doubled(records: Sequence[Record]) -> list[Record]:
    """Every record twice: as many duplicates as there were records."""
    return [record for record in records for _ in range(2)]


def shuffled(records: Sequence[Record], seed: int, within: timedelta = timedelta(minutes=10)) -> list[Record]:
    """Records in an order in which none comes after one that is `within` or more younger by the device's clock."""
    dice, within_ms = Random(seed), within / timedelta(milliseconds=1)
    delayed = [(record.at_ms + dice.random() * within_ms, record) for record in records]
    return [record for _, record in sorted(delayed, key=lambda entry: entry[0])]


def with_malformed(records: Sequence[Record], share: float, seed: int) -> Mixed:
    """Malformed records (`share` x number of records, rounded) among the good ones, in every variety in turn."""
    dice = Random(seed)
    positions = sorted(dice.sample(range(len(records)), round(share * len(records))))
    malformed = {
        position: Spoilt(spoilt(records[position], variety), variety.reason)
        for turn, position in enumerate(positions)
        for variety in (VARIETIES[turn % len(VARIETIES)],)
    }
    mixed: list[Record] = []
    for position, record in enumerate(records):
        mixed.append(record)
        if position in malformed:
            mixed.append(malformed[position].record)
    return Mixed(mixed, list(malformed.values()))
