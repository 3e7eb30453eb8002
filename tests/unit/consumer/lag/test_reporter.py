"""Lag is told from the database, whatever this process remembers to have written."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from consumer.kafka.log_offsets import LogRange
from consumer.lag.reporter import LagReporter
from consumer.monitoring.metrics import Metrics
from consumer.pipeline.batch_writer import Throughput

pytestmark = pytest.mark.anyio
PARTITION = TopicPartition("meter-readings", 0)


class Logs:
    """The log of the partition, which ends at 50."""

    ranges = {PARTITION: LogRange(0, 50, 50)}  # noqa: RUF012
    available = frozenset({PARTITION})
    suspected = frozenset({PARTITION})

    async def update(self) -> None:
        return


class Sampler:
    async def sample(self, unread: Any) -> Any:
        return {}


async def test_a_database_that_went_back_in_time_has_lag() -> None:
    metrics = Metrics()
    verified: list[Any] = []
    positions: Any = SimpleNamespace(stored={PARTITION: 30}, next_offsets={PARTITION: 50}, verify=verified.append)
    writer: Any = SimpleNamespace(committed={PARTITION: 50}, throughput=Throughput())
    buffers: Any = SimpleNamespace(oldest_unwritten=dict)
    client: Any = None
    reporter = LagReporter(client, positions, buffers, writer, Sampler(), Logs(), metrics)  # type: ignore[arg-type]

    await reporter._report()
    assert metrics.lag_records.labels(*PARTITION)._value.get() == 20
    assert verified == [{PARTITION}], "its log may have lost records"
    positions.stored[PARTITION] = 50
    await reporter._report()
    assert metrics.lag_records.labels(*PARTITION)._value.get() == 0
