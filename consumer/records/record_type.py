"""A kind of record, as data: how its records become rows, and who writes these."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from schemas.records.readings import InvalidReading, Limits, Reason

Row = tuple[Any, ...]  # (device id, the instant it speaks of, then what else it says)
DEVICE: Final = 0
RECORDED_AT: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RecordType:
    """What one topic carries.

    `decode` makes a struct whose fields are a row, and raises ValueError or TypeError for bytes that are none; `refusal` says
    why. `decode_lines` does so for many at once, where that is all there is to check. Instants must lie within `limits`; None
    stands for those of readings, which move with the clock. `write` puts rows into the database, within a transaction.
    Kinds are written by their `turn`, the same for every replica, so that two seldom wait for each other in a circle
    (where they do, the database ends one of them, and its batch is tried again). Without
    the topic of a `needed` kind a replica is not ready.
    """

    name: str
    turn: int
    decode: Callable[[Any], Any]
    decode_lines: Callable[[bytes], list[Any]] | None = None
    refusal: Callable[[bytes | None, Limits], InvalidReading]
    limits: Limits | None = None
    needed: bool = True
    write: Callable[..., Awaitable["TypeWriteResult"]]


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that contradicts what is stored, and how."""

    row: Row
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class TypeWriteResult:
    """What became of rows of one kind: those named nowhere else were written. `newest`: the newest written of each device."""

    newest: list[Row] = field(default_factory=list)
    duplicates: list[Row] = field(default_factory=list)
    refused: list[RejectedRow] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TelemetryType(RecordType):
    """One kind of reading on its way from a topic into its tables."""

    history: str
    columns: tuple[str, ...]
    arguments: tuple[str, ...]
    newest: Callable[..., Any]
    insert_new: Callable[..., Any]
    match: Callable[..., Any]

    def columnar(self, rows: list[Row]) -> dict[str, list[Any]]:
        """Rows as one list per column, named as the arguments of this kind's queries."""
        if not rows:
            return {name: [] for name in self.arguments}
        return dict(zip(self.arguments, map(list, zip(*rows, strict=True)), strict=True))
