"""Which partitions stand still, so that the end of their log is stored for the doctor and the fleet summary."""

from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition

from consumer.lag.log_ends import STANDSTILL_SECONDS, LogEnds
from consumer.lag.reporter import MeasuredLag

STANDING, MOVING = TopicPartition("meter-readings", 0), TopicPartition("meter-readings", 1)


def test_only_partitions_whose_stored_offset_has_not_moved_are_due() -> None:
    reporter: Any = SimpleNamespace(measured={STANDING: MeasuredLag(30, 5), MOVING: MeasuredLag(30, 5)})
    pool: Any = None
    ends = LogEnds(pool, "group", reporter)
    assert ends._standing_still(0.0) == {}
    reporter.measured = {STANDING: MeasuredLag(30, 9), MOVING: MeasuredLag(31, 8)}
    assert ends._standing_still(STANDSTILL_SECONDS) == {STANDING: MeasuredLag(30, 9)}


def test_a_partition_that_was_revoked_meanwhile_begins_anew() -> None:
    reporter: Any = SimpleNamespace(measured={STANDING: MeasuredLag(30, 5)})
    pool: Any = None
    ends = LogEnds(pool, "group", reporter)
    ends._standing_still(0.0)
    reporter.measured = {}
    ends._standing_still(STANDSTILL_SECONDS / 2)
    reporter.measured = {STANDING: MeasuredLag(30, 5)}
    assert ends._standing_still(STANDSTILL_SECONDS) == {}
