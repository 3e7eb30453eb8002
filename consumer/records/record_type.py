"""Record types, as data: how the records of a topic become rows, and which function writes these."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Final

import msgspec

from schemas.records.readings import InvalidReading, Limits, Reason

Row = tuple[Any, ...]  # (device id, the instant that the row is about, then the remaining fields)
DEVICE: Final = 0
RECORDED_AT: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RecordType:
    """What one topic carries.

    Attributes:
        name: a singular noun, unique among the types.
        struct: the type of a record's value; its fields are a row.
        write_order: position within a transaction. Every consumer writes the types in the same order, so that transactions
            seldom deadlock; where they do, PostgreSQL aborts one of them and its batch is retried.
        decode: bytes of JSON to a struct. Raises ValueError or TypeError.
        decode_lines: the same for many newline-separated values; None where decoding one value is not the only check.
        explain_rejection: why a value is rejected.
        limits: range of valid instants. None means the limits of readings, which move with the clock.
        required: a consumer is not ready while the topic of a required type does not exist.
        write: writes rows to the database, within a transaction.
    """

    name: str
    struct: type[msgspec.Struct]
    write_order: int
    decode: Callable[[Any], Any]
    decode_lines: Callable[[bytes], list[Any]] | None = None
    explain_rejection: Callable[[bytes | None, Limits], InvalidReading]
    limits: Limits | None = None
    required: bool = True
    write: Callable[..., Awaitable["TypeWriteResult"]]


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that PostgreSQL rejects or that contradicts a stored row; `detail` is for people."""

    row: Row
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class TypeWriteResult:
    """The outcome for the rows of one type. Rows that are neither duplicates nor rejected were written.

    `newest` holds the newest written row of each device.
    """

    newest: list[Row] = field(default_factory=list)
    duplicates: list[Row] = field(default_factory=list)
    rejected: list[RejectedRow] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TelemetryType(RecordType):
    """A type of reading.

    Attributes:
        history: the table that stores the readings.
        columns: its columns, in the order of a row's fields.
        arguments: the names of the same fields as arguments of the queries below.
        newest: query for the newest stored reading of given devices.
        insert_new: query that inserts the readings that are not stored yet and returns their identities.
        match: query that says for each reading whether the stored one of the same identity is equal.
        insert_late, match_late: the same for readings of days that are folded.
    """

    history: str
    columns: tuple[str, ...]
    arguments: tuple[str, ...]
    newest: Callable[..., Any]
    insert_new: Callable[..., Any]
    match: Callable[..., Any]
    insert_late: Callable[..., Any]
    match_late: Callable[..., Any]

    def columnar(self, rows: list[Row]) -> dict[str, list[Any]]:
        """Transpose rows into one list per column, keyed by the argument names of this type's queries."""
        return {name: list(map(itemgetter(position), rows)) for position, name in enumerate(self.arguments)}
