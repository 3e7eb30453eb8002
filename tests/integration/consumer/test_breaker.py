"""Breakers of two replicas on one database: what one of them does and what the other makes of it."""

import asyncio
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from consumer.monitoring.health import Health
from consumer.monitoring.metrics import Metrics
from consumer.pipeline.breaker import Breaker
from consumer.settings import ConsumerSettings
from sql.connection import WRITER_SETTINGS, pool
from sql.queries import queries
from tests.support.database import Database

pytestmark = pytest.mark.anyio
TOPIC = "meter-readings"
WINDOW = 100


@pytest.fixture
def replicas(connections: Any) -> tuple[Breaker, Breaker]:
    settings = ConsumerSettings(kafka_group_id="test", breaker_window_records=WINDOW)
    first, second = (Breaker(connections, settings, Metrics(CollectorRegistry()), Health()) for _ in range(2))
    return first, second


async def let_through(database: Database) -> None:
    async with pool(
        SecretStr(database.migrator_url), size=1, server_settings=WRITER_SETTINGS, command_timeout=30
    ) as opened:
        assert await queries.let_through(opened, consumer_group="test", topic=TOPIC)


async def looks(*replicas: Breaker) -> None:
    for replica in replicas:
        await replica.sync()


async def state(database: Database) -> str | None:
    found: str | None = await database.value("SELECT min(state) FROM topic_breakers WHERE topic = $1", TOPIC)
    return found


async def test_a_replica_that_has_seen_good_records_before_does_not_end_what_was_let_through(
    database: Database, replicas: tuple[Breaker, Breaker]
) -> None:
    broken, good = replicas
    assert not good.record(TOPIC, WINDOW, 0)
    assert broken.record(TOPIC, WINDOW, WINDOW)
    await looks(broken, good)
    assert TOPIC in good.stopped
    await let_through(database)

    await looks(broken, good, broken, good)

    assert await state(database) == "letting_through"
    assert not good.record(TOPIC, WINDOW, 0)
    await looks(good, broken)
    assert await state(database) is None, "a full window of good records since it was let through"


async def test_what_was_let_through_does_not_stop_a_topic_once_more_when_another_replica_has_closed_it(
    database: Database, replicas: tuple[Breaker, Breaker]
) -> None:
    broken, good = replicas
    assert broken.record(TOPIC, WINDOW, WINDOW)
    await looks(broken, good)
    await let_through(database)
    await looks(broken, good)
    assert not broken.record(TOPIC, WINDOW, WINDOW), "let through"
    assert not good.record(TOPIC, WINDOW, 0)

    await looks(good, broken)

    assert not broken.record(TOPIC, 1, 0)
    assert broken.record(TOPIC, WINDOW, WINDOW), "it is closed, and judges anew"


async def test_a_replica_does_not_end_what_was_stopped_or_let_through_anew_since_it_looked(
    database: Database, replicas: tuple[Breaker, Breaker]
) -> None:
    broken, good = replicas
    assert broken.record(TOPIC, WINDOW, WINDOW)
    await looks(broken)
    await let_through(database)
    await looks(good)
    assert not good.record(TOPIC, WINDOW, 0)
    await database.execute("UPDATE topic_breakers SET state = 'open', changed_at = now()")
    await looks(good)
    assert await state(database) == "open"

    await let_through(database)
    await looks(good)
    assert not good.record(TOPIC, WINDOW, 0)
    await let_through(database)
    await looks(good, good)
    assert await state(database) == "letting_through"


async def test_a_replica_that_stops_a_topic_tells_of_it_at_once(
    database: Database, replicas: tuple[Breaker, Breaker]
) -> None:
    broken, _ = replicas

    async def follow() -> None:
        await broken.wait(3600)
        await broken.sync()

    following = asyncio.create_task(follow())
    await asyncio.sleep(0)
    assert broken.record(TOPIC, WINDOW, WINDOW)

    await asyncio.wait_for(following, 30)

    assert await state(database) == "open"
