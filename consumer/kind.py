"""A kind of record, as data: how its records become rows, and who writes these."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from schemas.readings import InvalidReading, Limits, Reason

# (device id, the instant it speaks of, position of its record in the batch, then what else it says). Rows sort by identity first
# and by arrival among copies of one reading.
Row = tuple[Any, ...]
DEVICE: Final = 0
RECORDED_AT: Final = 1
POSITION: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kind:
    """What one topic carries.

    `decode` raises ValueError or TypeError for bytes that are none, and `refusal` says why. Instants must lie within `limits`;
    None stands for those of readings, which move with the clock. `write` puts rows into the database, within a transaction.
    Kinds are written by their `turn`, the same for every replica, so that two seldom wait for each other in a circle
    (where they do, the database ends one of them, and its batch is tried again). Without
    the topic of a `needed` kind a replica is not ready.
    """

    name: str
    turn: int
    decode: Callable[[bytes], Any]
    row: Callable[[Any, int], Row]
    refusal: Callable[[bytes | None, Limits], InvalidReading]
    limits: Limits | None = None
    needed: bool = True
    write: Callable[..., Awaitable["Written"]]


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that contradicts what is stored, and how."""

    row: Row
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Written:
    """What became of rows of one kind: those named nowhere else were written. `newest`: the newest written of each device."""

    newest: list[Row] = field(default_factory=list)
    duplicates: list[Row] = field(default_factory=list)
    refused: list[RefusedRow] = field(default_factory=list)
