"""How many replicas are needed: never more than there are partitions, and more the more there is to do."""

from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from consumer.lag.replicas_needed import CATCH_UP_SECONDS, ReplicasNeeded

PARTITION = TopicPartition("meter-readings", 0)
rates = st.floats(1, 1e6)


def learned(incoming: float, drain: float, seconds: int = 600) -> ReplicasNeeded:
    """What a replica knows that has seen both rates for a while, a look a second."""
    demand = ReplicasNeeded()
    for second in range(seconds):
        at = float(second)
        demand.observe(at, {PARTITION: round(incoming * at)}, drain * at, at)
    return demand


@given(rates, rates, st.integers(0, 10**9), st.integers(0, 64))
def test_never_more_than_there_are_partitions(incoming: float, drain: float, behind: int, partitions: int) -> None:
    needed = learned(incoming, drain, 20).estimate(behind, partitions)
    assert 0 <= needed <= partitions


def test_what_comes_in_and_what_has_piled_up_are_divided_by_what_a_replica_writes() -> None:
    demand = learned(incoming=2_000, drain=1_000)
    assert round(demand.estimate(0, 8), 2) == 2.0
    assert round(demand.estimate(int(3_000 * CATCH_UP_SECONDS), 8), 2) == 5.0
    assert demand.estimate(10**9, 8) == 8


def test_nothing_measured_yet_asks_for_one_and_no_partitions_for_none() -> None:
    assert ReplicasNeeded().estimate(10**6, 4) == 1
    assert ReplicasNeeded().estimate(0, 0) == 0


def test_partitions_that_come_and_go_are_no_records() -> None:
    demand = ReplicasNeeded()
    demand.observe(0, {PARTITION: 10**9}, 0, 0)
    demand.observe(1, {TopicPartition("meter-readings", 1): 10**9}, 1_000, 1)
    assert demand.estimate(0, 2) == 0


def test_a_wait_for_the_database_does_not_change_what_a_replica_can_write() -> None:
    demand = learned(incoming=100, drain=1_000)
    before = demand.estimate(0, 8)
    demand.observe(10_000, {PARTITION: 100 * 10_000}, 1_000 * 599, 599)
    assert demand.estimate(0, 8) <= before + 0.01
