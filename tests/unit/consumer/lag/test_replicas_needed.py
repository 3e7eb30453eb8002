"""The estimate of needed consumers: grows with rate and backlog, bounded by the partitions."""

from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from consumer.lag.replicas_needed import CATCH_UP_SECONDS, ReplicasNeeded

PARTITION = TopicPartition("meter-readings", 0)
rates = st.floats(1, 1e6)


def observed(incoming: float, drain: float, seconds: int = 600) -> ReplicasNeeded:
    """An estimate after both rates were observed once a second."""
    estimate = ReplicasNeeded()
    for second in range(seconds):
        now = float(second)
        estimate.observe(now, {PARTITION: round(incoming * now)}, drain * now, now)
    return estimate


@given(rates, rates, st.integers(0, 10**9), st.integers(0, 64))
def test_the_estimate_is_between_zero_and_the_number_of_partitions(
    incoming: float, drain: float, lag: int, partitions: int
) -> None:
    needed = observed(incoming, drain, 20).estimate(lag, partitions)
    assert 0 <= needed <= partitions


def test_incoming_rate_and_backlog_are_divided_by_the_drain_rate() -> None:
    needed = observed(incoming=2_000, drain=1_000)
    assert round(needed.estimate(0, 8), 2) == 2.0
    assert round(needed.estimate(int(3_000 * CATCH_UP_SECONDS), 8), 2) == 5.0
    assert needed.estimate(10**9, 8) == 8


def test_without_measurements_one_consumer_is_needed_and_without_partitions_none() -> None:
    assert ReplicasNeeded().estimate(10**6, 4) == 1
    assert ReplicasNeeded().estimate(0, 0) == 0


def test_the_log_of_a_newly_assigned_partition_does_not_count_as_incoming() -> None:
    needed = ReplicasNeeded()
    needed.observe(0, {PARTITION: 10**9}, 0, 0)
    needed.observe(1, {TopicPartition("meter-readings", 1): 10**9}, 1_000, 1)
    assert needed.estimate(0, 2) == 0


def test_time_spent_waiting_for_the_database_does_not_lower_the_drain_rate() -> None:
    needed = observed(incoming=100, drain=1_000)
    before = needed.estimate(0, 8)
    needed.observe(10_000, {PARTITION: 100 * 10_000}, 1_000 * 599, 599)
    assert needed.estimate(0, 8) <= before + 0.01
