"""A real Prometheus with the project's rules scrapes real processes: alerts fire and end, no panel of the dashboard is empty."""

import asyncio
import re
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaProducer

from deploy.stack.postgres import Postgres
from deploy.stack.processes import Processes
from deploy.stack.servers import Servers
from deploy.stack.topics import create_topics
from tests.support.database import Database, locked_tables
from tests.support.database_rows import insert_evaluation, insert_fault
from tests.support.ledger import Topics
from tests.support.prometheus import NO_PROMETHEUS, PROMETHEUS, Prometheus, start_prometheus
from tests.support.records import NOON, meter, minute
from tests.support.repository import ROOT
from tests.support.repository.dashboard import label_values, queries
from tests.support.responses import StartApi, http_client
from tests.support.services import ConsumerGroup, ConsumerProcess
from tests.support.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(PROMETHEUS is None, reason=NO_PROMETHEUS)]


@pytest.fixture
async def prometheus(database: Database, processes: Processes, tmp_path: Path) -> Prometheus:
    return await start_prometheus(processes, tmp_path / "prometheus")


async def produce(stack: Servers, topic: str, values: Iterable[bytes], *, sent_ago: float = 0) -> None:
    """Sends records now, with Kafka timestamps of `sent_ago` seconds ago."""
    at = int((time.time() - sent_ago) * 1000)
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka_bootstrap_servers, acks="all") as producer:
        for value in values:
            await producer.send(topic, value, timestamp_ms=at)
        await producer.flush()


async def host(consumer: ConsumerProcess) -> str:
    return (await consumer.address()).removeprefix("http://")


async def test_lag_is_measured_raises_alerts_and_recovers(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup, prometheus: Prometheus
) -> None:
    consumer = group.start()
    await consumer.until_ready()
    prometheus.scrape("consumer", [await host(consumer)])
    await prometheus.until('up{job="energy-consumer"} == 1')
    await prometheus.until_alert("EnergyNoConsumer", None)
    assert await prometheus.alert("EnergyIngestPaused") is None

    await database.execute("REVOKE INSERT ON meter_telemetry_history FROM energy_writer")
    await produce(stack, topics.meter, (meter(at=minute(number)) for number in range(50)))
    await prometheus.until_alert("EnergyIngestPaused", "pending")
    fires = await prometheus.until_alert("EnergyIngestPaused", "firing")
    assert fires["annotations"]["summary"] == "Ingestion is blocked: database"
    stands = await prometheus.until_alert("EnergyConsumerStandsStill", "firing")
    assert stands["annotations"]["description"].startswith(f"50 records of {topics.meter} are unread")
    await prometheus.until("energy:consumer_lag_seconds:max > 5")

    await database.execute("GRANT INSERT ON meter_telemetry_history TO energy_writer")
    await prometheus.until_alert("EnergyIngestPaused", None)
    await prometheus.until_alert("EnergyConsumerStandsStill", None)
    await prometheus.until("max(energy:consumer_lag_seconds:max) == 0")


async def test_a_paused_consumer_lags_until_it_has_caught_up(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup, prometheus: Prometheus
) -> None:
    consumer = group.start()
    await consumer.until_ready()
    prometheus.scrape("consumer", [await host(consumer)])
    await prometheus.until("max(energy:consumer_lag_seconds:max) == 0")
    consumer.freeze()
    await produce(stack, topics.meter, (meter(at=minute(number)) for number in range(50)), sent_ago=120)
    # the consumer would catch up at once when it resumes: a lock holds its transaction until the alert has fired
    async with locked_tables(database, "meter_telemetry_history", mode="SHARE"):
        consumer.thaw()
        fires = await prometheus.until_alert("EnergyConsumerLag", "firing")
        assert re.fullmatch(rf"{topics.meter} is \d+m \d+s behind", fires["annotations"]["summary"])
        assert float(fires["value"]) >= 120
        assert await database.value("SELECT count(*) FROM meter_telemetry_history") == 0
    await prometheus.until_alert("EnergyConsumerLag", None)
    await prometheus.until("max(energy:consumer_lag_seconds:max) == 0")
    assert await database.value("SELECT count(*) FROM meter_telemetry_history") == 50


async def test_a_frozen_consumer_raises_the_alert_of_its_target(
    database: Database, topics: Topics, group: ConsumerGroup, prometheus: Prometheus
) -> None:
    frozen, other = group.start(), group.start()
    await frozen.until_ready()
    await other.until_ready()
    where = await host(frozen)
    prometheus.scrape("consumer", [where, await host(other)])
    await prometheus.until('sum(up{job="energy-consumer"}) == 2')
    frozen.freeze()
    fires = await prometheus.until_alert("EnergyTargetDown", "firing")
    assert fires["annotations"]["summary"] == f"{where} does not answer"
    frozen.thaw()
    await prometheus.until_alert("EnergyTargetDown", None)


async def test_a_lost_database_replica_raises_the_alerts_of_the_api_and_of_maintenance(
    database: Database, group: ConsumerGroup, start_api: StartApi, standby: Postgres, prometheus: Prometheus
) -> None:
    maintain = _maintain(group, database)
    api = start_api(
        DATABASE_URL=database.reader_url,
        DATABASE_READ_URL=standby.url("reader", database.name),
        DATABASE_READ_FALLBACK="primary",
    )
    prometheus.scrape("maintain", [f"127.0.0.1:{(await maintain.until_logged('maintenance_started'))['metrics_port']}"])
    prometheus.scrape("api", [f"{api.base_url.host}:{api.base_url.port}"])
    await prometheus.until("max(energy_replicas_connected) == 1 and min(energy_api_replica_up) == 1")
    await asyncio.to_thread(standby.kill)
    away = await prometheus.until_alert("EnergyReplicaAway", "firing")
    where = f"{api.base_url.host}:{api.base_url.port}"
    assert away["annotations"]["summary"] == f"The replica does not answer the read service {where}"
    lost = await prometheus.until_alert("EnergyReplicaLost", "firing")
    assert lost["annotations"]["summary"] == "Connected database replicas: 1 fewer than before"
    await asyncio.to_thread(standby.start)
    await prometheus.until_alert("EnergyReplicaAway", None)
    await prometheus.until_alert("EnergyReplicaLost", None)


async def test_no_panel_of_the_dashboard_is_empty(
    stack: Servers,
    database: Database,
    topics: Topics,
    group: ConsumerGroup,
    start_api: StartApi,
    standby: Postgres,
    prometheus: Prometheus,
) -> None:
    await create_topics(stack.kafka_bootstrap_servers, [topics.assignment], partitions=1)
    await insert_evaluation(database, "VEH-001", NOON)
    await insert_fault(database, "VEH-001", NOON)
    consumer = group.start(BREAKER_WINDOW_RECORDS="20")
    await consumer.until_ready()
    maintain = _maintain(group, database)
    api = start_api(DATABASE_URL=database.reader_url, DATABASE_READ_URL=standby.url("reader", database.name))
    prometheus.scrape("consumer", [await host(consumer)])
    prometheus.scrape("maintain", [f"127.0.0.1:{(await maintain.until_logged('maintenance_started'))['metrics_port']}"])
    of_cells = start_api(DATABASE_CELLS=f"here={database.reader_url}", DATABASE_READ_URL="", INGESTION_ENABLED="false")
    prometheus.scrape("api", [f"{each.base_url.host}:{each.base_url.port}" for each in (api, of_cells)])
    await prometheus.until('sum(up{job=~"energy-.+"}) == 4')

    await database.execute("REVOKE INSERT ON meter_telemetry_history FROM energy_writer")
    await produce(stack, topics.meter, [meter(at=minute(0)), meter(at=minute(0))])
    await consumer.until_logged("write_retried")
    await prometheus.until("energy_write_retries_total")
    await database.execute("GRANT INSERT ON meter_telemetry_history TO energy_writer")
    await produce(stack, topics.vehicle, [b"nothing"] * 10)
    await consumer.until_logged("batch_written")
    await until_every_query_finds_a_number(stack, topics, api, prometheus)
    offered = [await prometheus.label_values(metric, label) for metric, label in label_values()]
    assert [{topics.meter, topics.vehicle} <= set(each) for each in offered] == [True]


async def until_every_query_finds_a_number(
    stack: Servers, topics: Topics, api: httpx.Client, prometheus: Prometheus
) -> None:
    empty, minutes = set(queries()), iter(range(1, 10_000))

    async def all_filled() -> bool:
        """Keeps the system busy, and checks whether every query finds a number."""
        number = next(minutes)
        await produce(stack, topics.meter, [meter(at=minute(number / 10))] * 2)
        if number == 5:
            await produce(stack, topics.vehicle, [b"nothing"] * 40)
        await _requests(api)
        found = [await prometheus.query(query) for _, query in sorted(empty)]
        empty.difference_update(
            [each for each, samples in zip(sorted(empty), found, strict=True) if has_number(samples)]
        )
        return not empty

    try:
        await until(all_filled, "no panel is empty", timeout=180, every=0.5)
    except AssertionError:
        raise AssertionError(f"queries without a number: {sorted(empty)}") from None


def has_number(samples: Iterable[dict[str, Any]]) -> bool:
    """Whether a graph would show anything. NaN, the result of 0/0, is a sample too but is not visible."""
    return any(each["value"][1] != "NaN" for each in samples)


def _maintain(group: ConsumerGroup, database: Database) -> ConsumerProcess:
    log = group.directory / "maintain.log"
    environment = group.environment | {"DATABASE_URL": database.migrator_url, "MAINTAIN_METRICS_PORT": "0"}
    command = [sys.executable, "-m", "sql", "maintain"]
    return ConsumerProcess(group.processes.start(command, log=log, env=environment, cwd=ROOT), log)


async def _requests(api: httpx.Client) -> None:
    async with http_client(str(api.base_url)) as client:
        await client.get("/v1/vehicles")
        await client.get("/v1/vehicles/NOBODY")
