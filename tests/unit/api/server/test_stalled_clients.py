"""Who takes nothing of its answer is cut off; who takes it slowly is not."""

from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from api.server.stalled_clients import StalledClients


@dataclass(eq=False)
class Connection:
    """What is left of its answer, and whether it was aborted."""

    left: int
    aborted: bool = False
    transport: Any = field(init=False)

    def __post_init__(self) -> None:
        self.transport = self

    def get_write_buffer_size(self) -> int:
        return self.left

    def cut_off(self) -> None:
        self.aborted = True


def test_who_takes_nothing_is_cut_off_in_time_and_not_before() -> None:
    unread, stuck, idle = StalledClients(30), Connection(1000), Connection(0)
    assert [unread.cut_off({stuck, idle}, float(now)) for now in range(30)] == [0] * 30
    assert unread.cut_off({stuck, idle}, 30.0) == 1
    assert (stuck.aborted, idle.aborted) == (True, False)


def test_more_that_is_written_to_it_is_nothing_that_it_takes() -> None:
    unread, stuck = StalledClients(30), Connection(1000)
    for now in range(31):
        unread.cut_off({stuck}, float(now))
        stuck.left += 10
    assert stuck.aborted


@given(st.lists(st.integers(1, 29), min_size=1, max_size=50))
def test_who_takes_a_byte_now_and_then_is_never_cut_off(pauses: list[int]) -> None:
    unread, slow, now = StalledClients(30), Connection(1000), 0.0
    for pause in pauses:
        for _ in range(pause):
            unread.cut_off({slow}, now)
            now += 1
        slow.left -= 1
    assert not slow.aborted


def test_an_answer_taken_whole_starts_anew() -> None:
    unread, client = StalledClients(30), Connection(1000)
    for now in range(60):
        client.left = 0 if now == 20 else 1000
        unread.cut_off({client}, float(now)) if now < 50 else None
    assert not client.aborted
