"""Hysteresis: when a fault opens and closes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.responses.base import Judgement
from sql.analytics.fault_state import JUDGED, FaultState, Hysteresis, next_state

RULES = Hysteresis(open_after=3, close_after=2, close_from=87)
BAD: tuple[Judgement, float | None] = ("faulty", 80.0)
BETWEEN: tuple[Judgement, float | None] = ("degraded", 86.0)
GOOD: tuple[Judgement, float | None] = ("healthy", 93.0)
NOTHING: tuple[Judgement, float | None] = ("insufficient_data", None)


def opened(*seen: tuple[Judgement, float | None]) -> list[bool]:
    state, states = FaultState(), []
    for status, ratio in seen:
        state = next_state(state, status, ratio, RULES)
        states.append(state.is_open)
    return states


@pytest.mark.parametrize(
    ("seen", "states"),
    [
        ([BAD, BAD, BAD], [False, False, True]),
        ([BAD, BAD, BETWEEN, BAD, BAD, BAD], [False] * 5 + [True]),
        ([BAD, NOTHING, BAD, NOTHING, BAD], [False] * 4 + [True]),
        ([BAD] * 3 + [GOOD, GOOD], [False, False, True, True, False]),
        ([BAD] * 3 + [BETWEEN] * 5, [False, False] + [True] * 6),
        ([BAD] * 3 + [GOOD, BETWEEN, GOOD, NOTHING, GOOD], [False, False] + [True] * 5 + [False]),
    ],
)
def test_opening_and_closing_take_several_evaluations(
    seen: list[tuple[Judgement, float | None]], states: list[bool]
) -> None:
    assert opened(*seen) == states


@given(st.lists(st.sampled_from([BAD, BETWEEN, GOOD, NOTHING, ("implausible", 130.0)])))
def test_a_fault_never_opens_or_closes_on_fewer_evaluations_than_required(
    seen: list[tuple[Judgement, float | None]],
) -> None:
    states = opened(*seen)
    judged = [(seen[index], state) for index, state in enumerate(states) if seen[index][0] in JUDGED]
    for index, (_, after) in enumerate(judged):
        before = judged[index - 1][1] if index else False
        if after and not before:
            assert [each for each, _ in judged[index - 2 : index + 1]] == [BAD] * 3
        if before and not after:
            assert [each for each, _ in judged[index - 1 : index + 1]] == [GOOD] * 2
