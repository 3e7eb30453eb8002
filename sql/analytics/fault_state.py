"""Consecutive efficiency assessments -> a fault opens or closes, with hysteresis.

A fault opens after a number of consecutive evaluations below one threshold, and closes after a number at or above a higher one.
Evaluations between the two end both streaks. Evaluations that could not be assessed (too little data) are ignored.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from schemas.responses.base import Judgement

JUDGED: Final = frozenset[Judgement]({"healthy", "degraded", "faulty"})


@dataclass(frozen=True, slots=True)
class Hysteresis:
    """Consecutive evaluations needed to open and to close a fault, and the efficiency in % from which one counts to close it."""

    open_after: int
    close_after: int
    close_from: float


class FaultState(msgspec.Struct, frozen=True, gc=False):
    """Lengths of the current streaks of faulty and of recovered evaluations, and whether a fault is open."""

    faulty_streak: int = 0
    recovered_streak: int = 0
    is_open: bool = False


def next_state(state: FaultState, status: Judgement, ratio: float | None, rules: Hysteresis) -> FaultState:
    """The state after one more evaluation; `is_open` changes when a fault opens or closes."""
    if status not in JUDGED or ratio is None:
        return state
    faulty = state.faulty_streak + 1 if status == "faulty" else 0
    recovered = state.recovered_streak + 1 if status != "faulty" and ratio >= rules.close_from else 0
    if state.is_open:
        return FaultState(faulty, recovered, is_open=recovered < rules.close_after)
    return FaultState(faulty, recovered, is_open=faulty >= rules.open_after)
