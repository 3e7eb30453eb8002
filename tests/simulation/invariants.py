"""What must hold: after every transaction, and once the faults have ended.

After every transaction: a claim covers exactly the records of the log between the old and the new offset; each of them is stored
or a dead letter; the ledger has counted as many rows and letters as the transaction has written; live status moves forward; late
readings have left their marks. In the end: every record has its one outcome, and every partition is read by somebody.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from aiokafka import TopicPartition

from tests.simulation.database.server import Transaction
from tests.simulation.database.statements import LATE_BEFORE, Offsets
from tests.simulation.kafka.broker import Broker
from tests.simulation.kafka.log import Entry, PartitionLog

TABLES: Final = {"meters": "meter", "vehicles": "vehicle"}


class Violation(AssertionError):  # noqa: N818 - what was found, not an error of the program
    """The promise was broken."""


class Invariants:
    """Looks at every transaction before it becomes visible."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.past: dict[TopicPartition, list[PartitionLog]] = {}  # logs that were truncated or replaced
        self.lossy: set[TopicPartition] = (
            set()
        )  # partitions that lost records which may not have been read: these may halt

    def check(self, transaction: Transaction) -> None:
        """Check one transaction that is about to be committed."""
        counted: Counter[str] = Counter()
        for (table, key), row in transaction.writes.items():
            if table == "offsets":
                before = transaction.tables[table].get(key)
                counted[key[0]] += row.written - (before.written if before else 0)
                counted["letters"] += row.dead_lettered - (before.dead_lettered if before else 0)
                if row.halt_reason and TopicPartition(*key) not in self.lossy:
                    raise Violation(f"{key} was halted for nothing: {row.halt_reason}")
                if before is not None and not any(each == "decisions" for each, _ in transaction.writes):
                    self._check_claim(transaction, TopicPartition(*key), before, row)
            elif table in TABLES.values():
                counted[_topic_of(table)] -= 1
                self._check_mark(transaction, table, key)
            elif table == "letters":
                counted["letters"] -= 1
            elif table.endswith("_live"):
                before = transaction.tables[table].get(key)
                if before is not None and row[0] <= before[0]:
                    raise Violation(f"live status of {key} went from {before[0]} back to {row[0]}")
        if any(counted.values()):
            raise Violation(f"the ledger does not add up: {dict(counted)} more counted than written")

    def _check_claim(self, transaction: Transaction, partition: TopicPartition, before: Offsets, row: Offsets) -> None:
        if row.next == before.next:
            if row.consumed != before.consumed:
                raise Violation(f"{partition} has consumed {row.consumed - before.consumed} records at one offset")
            return
        if row.next < before.next:
            raise Violation(f"the stored offset of {partition} went from {before.next} back to {row.next}")
        present = self._broker.logs.get(partition)
        logs = [*([present] if present else []), *self.past.get(partition, [])]
        read = [log.records_between(before.next, row.next) for log in logs if row.next <= log.end]
        if not any(
            self._is_covered(transaction, partition, entries, row.consumed - before.consumed) for entries in read
        ):
            entries = read[0] if read else []
            missing = [
                (each.offset, each.reading) for each in entries if not _has_outcome(transaction, partition, each)
            ]
            raise Violation(
                f"{partition}: the offset went from {before.next} to {row.next} with {row.consumed - before.consumed} records; "
                f"the log has {[each.offset for each in entries]}, and of these are not stored: {missing}"
            )

    def _is_covered(
        self, transaction: Transaction, partition: TopicPartition, entries: list[Entry], consumed: int
    ) -> bool:
        return len(entries) == consumed and all(_has_outcome(transaction, partition, each) for each in entries)

    def _check_mark(self, transaction: Transaction, table: str, key: tuple[str, datetime]) -> None:
        device, instant = key
        if instant < LATE_BEFORE:
            hour = instant.replace(minute=0, second=0, microsecond=0)
            if not any(("late", (table, each, hour)) in transaction.writes for each in (device, "")):
                raise Violation(f"{device} has a late reading at {instant}, and its hour is not marked")

    def unread(self, tables: dict[str, dict[Any, Any]]) -> Iterator[tuple[TopicPartition, int]]:
        """The records in Kafka that are neither stored nor a dead letter, and the offset at which a partition is halted."""
        for partition, log in self._broker.logs.items():
            row = tables["offsets"].get((partition.topic, partition.partition)) or Offsets(0, 0, 0)
            if row.halt_reason:
                yield partition, row.next
            for entry in log.records_between(log.start, log.last_stable_offset):
                if not _is_stored(tables, partition, row, entry):
                    yield partition, entry.offset

    def check_end(self, tables: dict[str, dict[Any, Any]]) -> None:
        """Live status is the newest reading of its device."""
        for table in TABLES.values():
            newest: dict[str, datetime] = {}
            for device, instant in tables[table]:
                newest[device] = max(instant, newest.get(device, instant))
            live = {device: row[0] for device, row in tables[f"{table}_live"].items()}
            if live != newest:
                raise Violation(f"live status of {table} is {live}, and the newest readings are {newest}")


def _is_stored(tables: dict[str, dict[Any, Any]], partition: TopicPartition, row: Offsets, entry: Entry) -> bool:
    letter = tables["letters"].get((*partition, entry.offset, row.incarnation))
    stored = tables[TABLES[partition.topic]].get((entry.reading.device, entry.reading.instant))
    return _judge(letter, stored, entry)


def _has_outcome(transaction: Transaction, partition: TopicPartition, entry: Entry) -> bool:
    incarnation = transaction.get("offsets", (partition.topic, partition.partition)).incarnation
    letter = transaction.get("letters", (*partition, entry.offset, incarnation))
    reading = entry.reading
    stored = transaction.get(TABLES[partition.topic], (reading.device, reading.instant)) if reading.valid else None
    return _judge(letter, stored, entry)


def _judge(letter: Any, stored: Any, entry: Entry) -> bool:
    """An invalid record is a letter; a valid one is stored with its own values, or a letter where others were there first."""
    if not entry.reading.valid:
        return letter is not None and bool(letter[0] == entry.value)
    if stored is None:
        return False
    return bool((stored[0] == entry.reading.value) == (letter is None))


def _topic_of(table: str) -> str:
    return next(topic for topic, each in TABLES.items() if each == table)
