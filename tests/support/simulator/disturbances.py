"""Lists of records that are duplicated, shuffled or mixed with malformed ones in such a way that the exact outcome is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from random import Random

from deploy.simulator.corruptions import CORRUPTIONS, corrupted
from deploy.simulator.readings import Record
from schemas.records.readings import Reason


@dataclass(frozen=True, slots=True)
class MalformedRecord:
    """A malformed record and the reason code of its rejection."""

    record: Record
    reason: Reason


@dataclass(frozen=True, slots=True)
class Mixed:
    """`records` to send, in order. Exactly those in `malformed` must become dead letters."""

    records: list[Record]
    malformed: list[MalformedRecord]


def doubled(records: Sequence[Record]) -> list[Record]:
    """Every record twice, which makes as many duplicates as records."""
    return [record for record in records for _ in range(2)]


def shuffled(records: Sequence[Record], seed: int, within: timedelta = timedelta(minutes=10)) -> list[Record]:
    """Shuffles records. None comes after a record that is newer by `within` or more, by the device's clock."""
    random, within_ms = Random(seed), within / timedelta(milliseconds=1)
    delayed = [(record.at_ms + random.random() * within_ms, record) for record in records]
    return [record for _, record in sorted(delayed, key=lambda entry: entry[0])]


def with_malformed(records: Sequence[Record], share: float, seed: int) -> Mixed:
    """Inserts malformed records (`share` x number of records, rounded) among valid ones, with each corruption in turn."""
    random = Random(seed)
    positions = sorted(random.sample(range(len(records)), round(share * len(records))))
    malformed = {
        position: MalformedRecord(corrupted(records[position], corruption), corruption.reason)
        for turn, position in enumerate(positions)
        for corruption in (CORRUPTIONS[turn % len(CORRUPTIONS)],)
    }
    mixed: list[Record] = []
    for position, record in enumerate(records):
        mixed.append(record)
        if position in malformed:
            mixed.append(malformed[position].record)
    return Mixed(mixed, list(malformed.values()))
