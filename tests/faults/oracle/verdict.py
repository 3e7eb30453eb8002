"""The verdict: how many records have no effect or more than one, and each difference in words."""

from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Final

EXAMPLES: Final = 2  # quoted in a finding


@dataclass(slots=True)
class Verdict:
    """`lost` and `duplicated` count records and rows; `findings` also has wrong values, and is empty when all is right."""

    acknowledged: int = 0
    lost: int = 0
    duplicated: int = 0
    findings: list[str] = field(default_factory=list)

    def add(self, *, lost: int = 0, duplicated: int = 0, what: str) -> None:
        """Add a finding, unless both numbers are 0."""
        if lost or duplicated:
            self.lost += lost
            self.duplicated += duplicated
            self.findings.append(f"{what}: {lost} lost, {duplicated} duplicated")

    def compare(self, what: str, expected: Iterable[Hashable], found: Iterable[Hashable]) -> None:
        """Compare two collections whose order does not matter; equal elements count."""
        missing, surplus = Counter(list(expected)), Counter(list(found))
        missing, surplus = missing - surplus, surplus - missing
        examples = [f"expected {each}" for each in list(missing)[:EXAMPLES]]
        examples += [f"found {each}" for each in list(surplus)[:EXAMPLES]]
        self.add(lost=missing.total(), duplicated=surplus.total(), what=f"{what} ({'; '.join(examples)})")

    def require(self, what: str, *, holds: bool) -> None:
        """Add a finding about something that is neither a record nor a row, unless it holds."""
        if not holds:
            self.findings.append(what)
