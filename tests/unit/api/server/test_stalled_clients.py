"""Clients that read nothing of their response are disconnected; clients that read slowly are not."""

from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from api.server.stalled_clients import StalledClients


@dataclass(eq=False)
class Connection:
    """A connection with unsent bytes; it is its own transport."""

    unsent: int
    aborted: bool = False
    transport: Any = field(init=False)

    def __post_init__(self) -> None:
        self.transport = self

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def close_stalled(self) -> None:
        self.aborted = True


def test_a_client_that_reads_nothing_is_disconnected_after_the_timeout_and_not_before() -> None:
    stalled, stuck, idle = StalledClients(30), Connection(1000), Connection(0)
    assert [stalled.close_stalled({stuck, idle}, float(now)) for now in range(30)] == [0] * 30
    assert stalled.close_stalled({stuck, idle}, 30.0) == 1
    assert (stuck.aborted, idle.aborted) == (True, False)


def test_bytes_written_to_a_client_do_not_count_as_bytes_that_it_read() -> None:
    stalled, stuck = StalledClients(30), Connection(1000)
    for now in range(31):
        stalled.close_stalled({stuck}, float(now))
        stuck.unsent += 10
    assert stuck.aborted


@given(st.lists(st.integers(1, 29), min_size=1, max_size=50))
def test_a_client_that_reads_a_byte_within_every_timeout_is_never_disconnected(pauses: list[int]) -> None:
    stalled, slow, now = StalledClients(30), Connection(1000), 0.0
    for pause in pauses:
        for _ in range(pause):
            stalled.close_stalled({slow}, now)
            now += 1
        slow.unsent -= 1
    assert not slow.aborted


def test_a_response_that_was_read_completely_starts_the_timeout_anew() -> None:
    stalled, client = StalledClients(30), Connection(1000)
    for now in range(60):
        client.unsent = 0 if now == 20 else 1000
        stalled.close_stalled({client}, float(now)) if now < 50 else None
    assert not client.aborted
