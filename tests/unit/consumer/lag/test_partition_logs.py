"""Logs that may have lost records since they were last asked for."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import LeaderNotAvailableError

from consumer.kafka.log_offsets import LogRange
from consumer.lag import partition_logs
from consumer.lag.partition_logs import PartitionLogs
from consumer.monitoring.health import Health
from consumer.monitoring.metrics import Metrics

pytestmark = pytest.mark.anyio
PARTITION = TopicPartition("meter-readings", 0)


@pytest.mark.parametrize(
    ("ends", "suspected"),
    [
        ([50, 50, 60], [False, False, False]),
        ([50, 40, 60], [False, True, False]),
        ([50, None, 60], [False, False, True]),
        ([None, 50, 50], [False, True, False]),
    ],
    ids=["it grows", "it ends earlier", "its leader was away", "its leader was away at the start"],
)
async def test_a_log_is_suspected_after_an_absence_or_when_it_ends_earlier(
    ends: list[int | None], suspected: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter(ends)

    async def log_ranges(*_: Any) -> tuple[dict[Any, Any], dict[Any, Any]]:
        end = next(answers)
        return ({}, {PARTITION: LeaderNotAvailableError()}) if end is None else ({PARTITION: LogRange(0, end, end)}, {})

    monkeypatch.setattr(partition_logs, "log_ranges", log_ranges)
    client: Any = SimpleNamespace(assignment=lambda: {PARTITION})
    logs = PartitionLogs(client, Metrics(), Health())
    found = []
    for _ in ends:
        await logs.update()
        found.append(PARTITION in logs.suspected)
    assert found == suspected
