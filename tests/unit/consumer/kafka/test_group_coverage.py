"""When a rebalance is requested for partitions that no member holds."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from prometheus_client import CollectorRegistry

from consumer.kafka import group_coverage
from consumer.kafka.group_coverage import GRACE_SECONDS, LONGEST_GRACE_SECONDS, GroupCoverage
from consumer.kafka.group_members import STABLE, GroupDescription, Member
from consumer.monitoring.metrics import Metrics
from consumer.settings import ConsumerSettings

pytestmark = pytest.mark.anyio


class Group:
    """A group whose only member holds partition 0 of a topic with two partitions, on a clock of the test's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.state, self.held, self.described, self.rebalances = 1000.0, STABLE, {0}, 0, 0
        self.subscription = {"meter-readings"}
        self.error: Exception | None = None
        client: Any = SimpleNamespace(
            subscription=lambda: frozenset(self.subscription),
            partitions_for_topic=lambda _: {0, 1},
            _coordinator=SimpleNamespace(generation=1),
        )
        self.client = client
        self.metrics = Metrics(CollectorRegistry())
        self.coverage = GroupCoverage(ConsumerSettings(), client, self.metrics)
        monkeypatch.setattr(group_coverage, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(group_coverage, "describe_group", self._describe)
        monkeypatch.setattr(group_coverage, "request_rebalance", self._rebalance)

    async def _describe(self, _: ConsumerSettings) -> GroupDescription:
        self.described += 1
        if self.error:
            raise self.error
        partitions = frozenset(TopicPartition("meter-readings", each) for each in self.held)
        return GroupDescription(self.state, (Member("consumer-0", "127.0.0.1", partitions),))

    def _rebalance(self, _: Any) -> None:
        self.rebalances += 1

    async def check_after(self, seconds: float) -> None:
        self.now += seconds
        await self.coverage.check()

    def unassigned(self) -> float | None:
        labels = {"topic": "meter-readings"}
        return self.metrics.registry.get_sample_value("energy_consumer_unassigned_partitions", labels)


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Group:
    return Group(monkeypatch)


async def test_a_rebalance_is_requested_once_a_leader_would_have_started_it(group: Group) -> None:
    await group.check_after(0)
    await group.check_after(GRACE_SECONDS - 1)
    assert (group.unassigned(), group.rebalances) == (1, 0)
    await group.check_after(1)
    assert group.rebalances == 1


async def test_a_rebalance_that_does_not_help_is_repeated_ever_more_rarely(group: Group) -> None:
    await group.check_after(0)
    for _ in range(3600):
        await group.check_after(1)
    assert 1 < group.rebalances < 12
    assert group.coverage._grace == LONGEST_GRACE_SECONDS


async def test_a_group_that_holds_everything_is_described_once_for_each_generation(group: Group) -> None:
    group.held = {0, 1}
    for _ in range(3):
        await group.check_after(2)
    assert (group.unassigned(), group.rebalances, group.described) == (0, 0, 1)
    group.client._coordinator.generation = 2
    await group.check_after(2)
    assert group.described == 2


async def test_nothing_is_concluded_during_a_rebalance(group: Group) -> None:
    group.state, group.held = "PreparingRebalance", set()
    for _ in range(60):
        await group.check_after(1)
    assert (group.unassigned(), group.rebalances) == (None, 0)


@pytest.mark.parametrize("subscription", [set(), {"vehicle-readings"}])
async def test_a_topic_that_is_not_subscribed_to_any_more_has_no_value(group: Group, subscription: set[str]) -> None:
    await group.check_after(0)
    assert group.unassigned() == 1
    group.subscription = subscription
    await group.check_after(1)
    assert group.unassigned() is None


async def test_a_group_that_cannot_be_described_has_no_value_until_it_can(group: Group) -> None:
    await group.check_after(0)
    assert group.unassigned() == 1
    group.error = TimeoutError()
    await group.check_after(1)
    assert group.unassigned() is None
    group.error, group.held = None, {0, 1}
    await group.check_after(1)
    assert group.unassigned() == 0
