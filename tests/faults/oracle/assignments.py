"""Declarations in the order of their arrival -> which meter measured which vehicle, and when (docs/operations.md)."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Literal

from tests.faults.oracle.decode import Declaration

FOREVER: Final = datetime.max.replace(tzinfo=UTC)
Outcome = Literal["written", "duplicate", "overlap"]


@dataclass(frozen=True, slots=True)
class Assignment:
    """The vehicle drew from the meter during [start, end); an open end is None."""

    vehicle: str
    meter: str
    start: datetime
    end: datetime | None


@dataclass(slots=True)
class Assignments:
    """The accepted declarations; the last one for a vehicle and a start counts."""

    accepted: int = 0
    _declared: dict[tuple[str, datetime], Declaration] = field(default_factory=dict)

    def declare(self, new: Declaration) -> Outcome:
        """Accept a declaration unless it repeats or contradicts those before."""
        key = new.vehicle, new.start
        if self._declared.get(key) == new:
            return "duplicate"
        if any(_contradict(new, each) for other, each in self._declared.items() if other != key):
            return "overlap"
        self._declared[key] = new
        self.accepted += 1
        return "written"

    def valid(self) -> list[Assignment]:
        """All assignments. One without an end lasts until the next one of its vehicle or meter begins."""
        declared = list(self._declared.values())
        return [Assignment(each.vehicle, each.meter, each.start, _end(each, declared)) for each in declared]


def _end(declaration: Declaration, declared: list[Declaration]) -> datetime | None:
    if declaration.end is not None:
        return declaration.end
    later = [each.start for each in declared if _share_a_device(each, declaration) and each.start > declaration.start]
    return min(later, default=None)


def _contradict(new: Declaration, old: Declaration) -> bool:
    """Whether both claim one device at the same time. An open one gives way to a newer one instead."""
    if not _share_a_device(new, old):
        return False
    older, newer = (old, new) if old.start < new.start else (new, old)
    return newer.start == older.start or (older.end is not None and newer.start < older.end)


def _share_a_device(one: Declaration, other: Declaration) -> bool:
    return one.vehicle == other.vehicle or one.meter == other.meter
