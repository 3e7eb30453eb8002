"""Judgements in a row -> a fault opens or closes, with hysteresis. Pure.

A fault opens after so many evaluations in a row below one threshold, and closes after so many at or above a higher one. In
between nothing changes, and an evaluation that cannot judge (too little data) neither counts nor interrupts.
"""

from dataclasses import dataclass
from typing import Final

from schemas.responses.base import Judgement

JUDGED: Final = frozenset[Judgement]({"healthy", "degraded", "faulty"})


@dataclass(frozen=True, slots=True)
class Hysteresis:
    """How many evaluations in a row it takes, and the efficiency in % from which a charger is good again."""

    open_after: int
    close_after: int
    close_from: float


@dataclass(frozen=True, slots=True)
class Standing:
    """Evaluations in a row that found a fault, that found none, and whether a fault is open."""

    faulty: int = 0
    sound: int = 0
    is_open: bool = False


def advance(before: Standing, status: Judgement, ratio: float | None, rules: Hysteresis) -> Standing:
    """How a vehicle stands after one more evaluation; `is_open` differs when a fault opens or closes."""
    if status not in JUDGED or ratio is None:
        return before
    faulty = before.faulty + 1 if status == "faulty" else 0
    sound = before.sound + 1 if status != "faulty" and ratio >= rules.close_from else 0
    if before.is_open:
        return Standing(faulty, sound, is_open=sound < rules.close_after)
    return Standing(faulty, sound, is_open=faulty >= rules.open_after)
