"""Services that connect to a real Kafka with tokens and with client certificates instead of passwords."""

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path

import httpx
import pytest
from aiokafka import AIOKafkaProducer

from deploy.stack.processes import Processes
from tests.integration.api.test_ingestion import wait_until_ready, waiting_for
from tests.integration.security.secured import Setup, until_written
from tests.support.command import Command
from tests.support.database import Database
from tests.support.records import meter, vehicle
from tests.support.responses import StartApi
from tests.support.services import ConsumerGroup, ConsumerProcess
from tests.support.waiting import until
from tests.tls.tokens import TokenServer

pytestmark = pytest.mark.anyio
RECENTLY = datetime.now(UTC) - timedelta(minutes=10)


@pytest.fixture
def tokens(setup: Setup) -> TokenServer:
    """The token endpoint as it was at its start."""
    server = setup.secured_kafka.tokens
    server.broken, server.audience, server.lifetime_seconds = None, "kafka", 300.0
    return server


def with_tokens(setup: Setup, user: str) -> dict[str, str]:
    return setup.environment | setup.secured_kafka.token_settings(user, setup.directory)


def with_certificate(setup: Setup, user: str) -> dict[str, str]:
    return setup.environment | setup.secured_kafka.certificate_settings(user)


def send(ingestion: httpx.Client, number: int) -> None:
    """One reading of each type."""
    at = RECENTLY + timedelta(seconds=number)
    assert ingestion.post("/v1/ingestion/meter", content=meter("METER-1", at)).status_code == HTTPStatus.CREATED
    assert ingestion.post("/v1/ingestion/vehicle", content=vehicle("VEH-1", at)).status_code == HTTPStatus.CREATED


def complaints(log: Path) -> list[str]:
    """The lines of a log from WARNING on."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [str(line) for line in lines if line["level"] in {"warning", "error", "critical"}]


def assert_no_secret_is_logged(setup: Setup) -> None:
    server = setup.secured_kafka.tokens
    for log in setup.directory.glob("*.log"):
        text = log.read_text()
        assert not [each for each in (*server.secrets.values(), *server.tokens) if each in text], log


async def test_sessions_are_renewed_while_readings_flow(
    setup: Setup, tokens: TokenServer, database: Database, processes: Processes, start_ingestion: StartApi
) -> None:
    tokens.lifetime_seconds = 10
    tokens.granted.clear()
    group = ConsumerGroup(processes, with_tokens(setup, "consumer"), setup.directory)
    consumer = group.start()
    ingestion = start_ingestion(with_tokens(setup, "gateway"))
    await wait_until_ready(ingestion)
    await consumer.until_ready()
    first_tokens_expired = time.monotonic() + tokens.lifetime_seconds + 1
    sent = 0

    async def renewed() -> bool:
        nonlocal sent
        await asyncio.to_thread(send, ingestion, sent)
        sent += 1
        return (
            time.monotonic() > first_tokens_expired
            and min(tokens.granted[each] for each in ("consumer", "gateway")) > 1
        )

    await until(renewed, "every session has been renewed", timeout=120)
    await until_written(database, setup.topics, sent)
    for log in (consumer.log, setup.directory / "api.log"):
        assert "kafka_session_renewed" in log.read_text()
    assert await consumer.metric("energy_rebalances_total") <= 1
    assert group.stop(consumer) == 0
    assert_no_secret_is_logged(setup)


async def test_a_missing_token_is_reported_and_asked_for_until_there_is_one(
    setup: Setup, tokens: TokenServer, database: Database, processes: Processes, start_ingestion: StartApi
) -> None:
    tokens.broken = HTTPStatus.SERVICE_UNAVAILABLE
    consumer = ConsumerGroup(processes, with_tokens(setup, "consumer"), setup.directory).start()
    ingestion = start_ingestion(with_tokens(setup, "gateway"))

    async def reported(detail: str) -> None:
        async def by_both() -> bool:
            of_consumer = (await consumer.blocked_by()).get("kafka_token", "")
            of_gateway = (await asyncio.to_thread(waiting_for, ingestion)).get("gateway", "")
            return detail in of_consumer and detail in of_gateway

        await until(by_both, f"both report: {detail}", timeout=120)

    await reported(f"{tokens.url} (KAFKA_OAUTH_TOKEN_URL) answers 503")
    secrets, tokens.secrets = tokens.secrets, dict.fromkeys(tokens.secrets, "another")
    tokens.broken = None
    await reported(
        "invalid_client: no such client or secret; check KAFKA_OAUTH_CLIENT_ID and KAFKA_OAUTH_CLIENT_SECRET"
    )
    tokens.secrets, tokens.audience = secrets, "another"
    await reported("the brokers reject the token: ")
    tokens.audience = "kafka"
    await consumer.until_ready()
    await wait_until_ready(ingestion)
    await asyncio.to_thread(send, ingestion, 1)
    await until_written(database, setup.topics, 1)
    assert_no_secret_is_logged(setup)


async def test_nothing_is_lost_while_the_token_endpoint_is_away_for_longer_than_a_session(
    setup: Setup, tokens: TokenServer, database: Database, processes: Processes
) -> None:
    tokens.lifetime_seconds = 4
    consumer = ConsumerGroup(processes, with_tokens(setup, "consumer"), setup.directory).start()
    await consumer.until_ready()
    async with AIOKafkaProducer(bootstrap_servers=setup.secured_kafka.kafka.bootstrap_servers, acks="all") as producer:
        for number in range(200):
            at = RECENTLY + timedelta(seconds=number)
            await producer.send(setup.topics.meter, meter("METER-1", at), b"METER-1")
            await producer.send_and_wait(setup.topics.vehicle, vehicle("VEH-1", at), b"VEH-1")
            if number == 100:
                tokens.broken = HTTPStatus.SERVICE_UNAVAILABLE
                await until_blocked(consumer, "kafka_token", "answers 503")
    tokens.broken, tokens.lifetime_seconds = None, 300.0
    await until_written(database, setup.topics, 200)
    await consumer.until_ready()
    assert consumer.process.poll() is None


async def until_blocked(consumer: ConsumerProcess, reason: str, detail: str) -> None:
    async def blocked() -> bool:
        return detail in (await consumer.blocked_by()).get(reason, "")

    await until(blocked, f"the consumer reports {reason}: {detail}", timeout=120)


async def test_the_simulator_connects_with_a_token_from_a_file(setup: Setup, tokens: TokenServer) -> None:
    file = setup.directory / "token"
    file.write_text(f"{tokens.token('gateway')}\n")
    settings = {name: value for name, value in with_tokens(setup, "gateway").items() if "OAUTH" not in name}
    simulator = Command("deploy.simulator", settings | {"KAFKA_OAUTH_TOKEN_FILE": str(file)})
    run = ("run", "--no-live", "--backfill-hours", "1", "--backfill-devices", "2", "--devices", "2")
    stdout, _ = await simulator.succeed(*run)
    assert '"acknowledged":240' in stdout


async def test_a_reading_travels_with_client_certificates_and_a_renewed_one_needs_no_restart(
    setup: Setup, database: Database, processes: Processes, start_ingestion: StartApi
) -> None:
    environment = with_certificate(setup, "consumer")
    setup.secured_kafka.certificates.foreign_client("consumer")
    consumer = ConsumerGroup(processes, environment, setup.directory).start()
    ingestion = start_ingestion(with_certificate(setup, "gateway"))
    await wait_until_ready(ingestion)
    await asyncio.to_thread(send, ingestion, 1)
    await until_blocked(consumer, "kafka", "does not answer over SSL")
    setup.secured_kafka.certificates.client("consumer")
    await until_written(database, setup.topics, 1)
    await consumer.until_ready()


async def test_the_broker_accepts_no_client_without_a_certificate(setup: Setup, processes: Processes) -> None:
    environment = {name: value for name, value in with_certificate(setup, "consumer").items() if "SSL_CERT" not in name}
    consumer = ConsumerGroup(processes, environment, setup.directory).start()
    await until_blocked(consumer, "kafka", "does not answer over SSL")
    assert any("Unable connect" in line for line in complaints(consumer.log))
