"""Circuit breakers of two consumers that share their state through one database."""

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
def breakers(connections: Any) -> tuple[Breaker, Breaker]:
    settings = ConsumerSettings(kafka_group_id="test", breaker_window_records=WINDOW)
    first, second = (Breaker(connections, settings, Metrics(CollectorRegistry()), Health()) for _ in range(2))
    return first, second


async def let_records_through(database: Database) -> None:
    async with pool(
        SecretStr(database.migrator_url), size=1, server_settings=WRITER_SETTINGS, command_timeout=30
    ) as opened:
        assert await queries.let_through(opened, consumer_group="test", topic=TOPIC)


async def sync(*breakers: Breaker) -> None:
    for breaker in breakers:
        await breaker.sync()


async def state(database: Database) -> str | None:
    found: str | None = await database.value("SELECT min(state) FROM topic_breakers WHERE topic = $1", TOPIC)
    return found


async def test_good_records_from_before_records_were_let_through_do_not_close_the_breaker(
    database: Database, breakers: tuple[Breaker, Breaker]
) -> None:
    broken, good = breakers
    assert not good.record(TOPIC, WINDOW, 0)
    assert broken.record(TOPIC, WINDOW, WINDOW)
    await sync(broken, good)
    assert TOPIC in good.stopped
    await let_records_through(database)

    await sync(broken, good, broken, good)

    assert await state(database) == "letting_through"
    assert not good.record(TOPIC, WINDOW, 0)
    await sync(good, broken)
    assert await state(database) is None, "a full window of good records since the operator let records through"


async def test_records_that_were_let_through_do_not_reopen_a_breaker_that_another_consumer_has_closed(
    database: Database, breakers: tuple[Breaker, Breaker]
) -> None:
    broken, good = breakers
    assert broken.record(TOPIC, WINDOW, WINDOW)
    await sync(broken, good)
    await let_records_through(database)
    await sync(broken, good)
    assert not broken.record(TOPIC, WINDOW, WINDOW), "records are let through"
    assert not good.record(TOPIC, WINDOW, 0)

    await sync(good, broken)

    assert not broken.record(TOPIC, 1, 0)
    assert broken.record(TOPIC, WINDOW, WINDOW), "the closed breaker opens on a full window of bad records"


async def test_a_breaker_whose_state_has_changed_since_the_last_sync_is_not_closed(
    database: Database, breakers: tuple[Breaker, Breaker]
) -> None:
    broken, good = breakers
    assert broken.record(TOPIC, WINDOW, WINDOW)
    await sync(broken)
    await let_records_through(database)
    await sync(good)
    assert not good.record(TOPIC, WINDOW, 0)
    await database.execute("UPDATE topic_breakers SET state = 'open', changed_at = now()")
    await sync(good)
    assert await state(database) == "open"

    await let_records_through(database)
    await sync(good)
    assert not good.record(TOPIC, WINDOW, 0)
    await let_records_through(database)
    await sync(good, good)
    assert await state(database) == "letting_through"


async def test_a_breaker_that_opens_is_published_without_waiting_for_the_interval(
    database: Database, breakers: tuple[Breaker, Breaker]
) -> None:
    broken, _ = breakers

    async def follow() -> None:
        await broken.wait(3600)
        await broken.sync()

    following = asyncio.create_task(follow())
    await asyncio.sleep(0)
    assert broken.record(TOPIC, WINDOW, WINDOW)

    await asyncio.wait_for(following, 30)

    assert await state(database) == "open"
