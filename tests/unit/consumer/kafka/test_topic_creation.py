"""Creation of topics on a broker that has just started: its metadata names no controller yet."""

from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import NodeNotReadyError

from consumer.kafka.topics import create_topics
from schemas.config.settings import KafkaSettings

pytestmark = pytest.mark.anyio


async def test_a_cluster_without_a_controller_is_an_error_that_may_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    async def start(admin: Any) -> None:
        admin._client.cluster = ClusterMetadata()

    monkeypatch.setattr(AIOKafkaAdminClient, "start", start)
    with pytest.raises(NodeNotReadyError):
        await create_topics(
            KafkaSettings(kafka_bootstrap_servers="127.0.0.1:1"), ["a"], partitions=1, replication_factor=1
        )
    assert NodeNotReadyError.retriable
