"""The estimate of needed consumers: grows with rate and backlog, bounded by the partitions."""

import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from consumer.lag.replicas_needed import CATCH_UP_SECONDS, ReplicasNeeded
from consumer.pipeline.batch_writer import FEW_RECORDS, Throughput

PARTITION = TopicPartition("meter-readings", 0)
rates = st.floats(1, 1e6)


def observed(incoming: float, drain: float, seconds: int = 600) -> ReplicasNeeded:
    """An estimate after both rates were observed once a second."""
    estimate = ReplicasNeeded()
    for second in range(seconds):
        now = float(second)
        estimate.observe(now, {PARTITION: round(incoming * now)}, large_writes(drain, second))
    return estimate


def large_writes(drain: float, seconds: float) -> Throughput:
    return Throughput(records=round(drain * seconds), writes=round(seconds), seconds=seconds)


def keeping_up(rate: float, transaction_seconds: float, record_seconds: float, seconds: int = 30) -> ReplicasNeeded:
    """An estimate of a consumer that writes what has arrived during the write before, without a break."""
    estimate, written, arrived_at = ReplicasNeeded(), Throughput(), 0.0
    for second in range(1, seconds + 1):
        while written.seconds < second:
            records = round(rate * written.seconds) - round(rate * arrived_at)
            arrived_at = written.seconds
            written = written.add(records, transaction_seconds + record_seconds * records)
        estimate.observe(second, {PARTITION: round(rate * second)}, written)
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
    needed.observe(0, {PARTITION: 10**9}, Throughput())
    needed.observe(1, {TopicPartition("meter-readings", 1): 10**9}, large_writes(1_000, 1))
    assert needed.estimate(0, 2) == 0


def test_time_spent_waiting_for_the_database_does_not_lower_the_drain_rate() -> None:
    needed = observed(incoming=100, drain=1_000)
    before = needed.estimate(0, 8)
    needed.observe(10_000, {PARTITION: 100 * 10_000}, large_writes(1_000, 599))
    assert needed.estimate(0, 8) <= before + 0.01


@pytest.mark.parametrize("transaction_seconds", [0.001, 0.005, 0.05])
@pytest.mark.parametrize("load", [0.001, 0.01, 0.1, 0.5, 0.9])
def test_a_consumer_that_keeps_up_is_enough_though_it_writes_all_the_time(
    load: float, transaction_seconds: float
) -> None:
    record_seconds = 5e-6
    needed = keeping_up(load / record_seconds, transaction_seconds, record_seconds).estimate(0, 8)
    assert 0 < needed < 1
    if load / record_seconds * transaction_seconds > FEW_RECORDS:  # there were larger writes than that of a transaction
        assert needed < 2 * load


def test_what_large_batches_have_shown_is_kept_while_small_ones_are_written() -> None:
    needed, written = observed(incoming=2_000, drain=1_000), large_writes(1_000, 599)
    for second in range(600, 1200):
        for _ in range(20):
            written = written.add(FEW_RECORDS, 0.02)
        needed.observe(second, {PARTITION: 2_000 * second}, written)
    assert 1.5 < needed.estimate(0, 8) < 2.5


def test_a_backlog_is_seen_at_once_after_small_batches() -> None:
    needed, written = ReplicasNeeded(), Throughput()
    for second in range(60):
        written = written.add(10, 0.004).add(10, 0.005)
        needed.observe(second, {PARTITION: 20 * second}, written)
    for second in range(60, 70):
        written = written.add(20_000, 0.5).add(20_000, 0.5)
        needed.observe(second, {PARTITION: 20 * 60 + 80_000 * (second - 60)}, written)
    assert needed.estimate(int(80_000 * CATCH_UP_SECONDS), 8) > 2
