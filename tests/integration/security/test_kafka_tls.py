"""Services on a Kafka with SASL_SSL, SCRAM-SHA-512 and minimal ACLs, and what they report when it rejects them."""

import asyncio
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError, for_code

from deploy.stack.processes import Processes
from tests.integration.api.test_ingestion import wait_until_ready, waiting_for
from tests.integration.security.secured import Setup, until_written
from tests.support.command import Command
from tests.support.database import Database
from tests.support.records import meter, vehicle
from tests.support.responses import StartApi, body, problem
from tests.support.services import ConsumerGroup
from tests.support.waiting import until
from tests.tls.kafka import SecuredKafka

pytestmark = pytest.mark.anyio
RECENTLY = datetime.now(UTC) - timedelta(minutes=10)


def assert_no_password_is_logged(setup: Setup) -> None:
    logs = list(setup.directory.glob("*.log"))
    assert logs
    for log in logs:
        for password in setup.secured_kafka.passwords.values():
            assert password not in log.read_text(), f"{log} contains a password"


async def test_a_reading_travels_from_http_to_the_read_service_over_tls(
    setup: Setup, database: Database, processes: Processes, start_ingestion: StartApi, start_api: StartApi
) -> None:
    ingestion = start_ingestion(setup.environment_of("gateway"))
    await wait_until_ready(ingestion)
    group = ConsumerGroup(processes, setup.environment_of("consumer"), setup.directory)
    consumer = group.start()
    for number in range(20):
        at = RECENTLY + timedelta(seconds=number)
        assert ingestion.post("/v1/ingestion/meter", content=meter("METER-1", at)).status_code == 201
        assert ingestion.post("/v1/ingestion/vehicle", content=vehicle("VEH-1", at, soc=41)).status_code == 201
    await until_written(database, setup.topics, 20)
    await consumer.until_ready()

    client = start_api(INGESTION_ENABLED="false")
    assert body(client.get("/v1/vehicles/VEH-1"))["soc"] == 41
    assert body(client.get("/v1/meters/METER-1"))["lastVoltage"] == 240.5
    assert group.stop(consumer) == 0
    assert_no_password_is_logged(setup)


async def test_alerts_are_published_over_tls(setup: Setup, database: Database, processes: Processes) -> None:
    await database.execute("INSERT INTO alert_outbox (key, value) VALUES ('VEH-1', 'told')")
    ConsumerGroup(processes, setup.environment_of("consumer"), setup.directory).start()

    async def published() -> bool:
        return bool(await database.value("SELECT bool_and(published_at IS NOT NULL) FROM alert_outbox"))

    await until(published, "the alert is published", timeout=120)
    administrator = AIOKafkaConsumer(
        setup.alerts, bootstrap_servers=setup.secured_kafka.kafka.bootstrap_servers, auto_offset_reset="earliest"
    )
    async with administrator:
        assert (await administrator.getone()).value == b"told"


async def test_the_simulator_sends_over_tls(setup: Setup, database: Database, processes: Processes) -> None:
    simulator = Command("deploy.simulator", setup.environment_of("gateway"))
    run = ("run", "--no-live", "--backfill-hours", "1", "--backfill-devices", "2", "--devices", "2")
    stdout, _ = await simulator.succeed(*run)
    assert '"acknowledged":240' in stdout
    ConsumerGroup(processes, setup.environment_of("consumer"), setup.directory).start()
    await until_written(database, setup.topics, 120)


async def test_no_user_may_do_more_than_its_service_needs(setup: Setup) -> None:
    """A consumer must not produce readings, ingestion must not consume, neither may create topics; other users may do nothing."""
    topic, group = setup.topics.meter, setup.environment["KAFKA_GROUP_ID"]
    for user in ("consumer", "nobody"):
        async with AIOKafkaProducer(**setup.client(user)) as producer:
            with pytest.raises(TopicAuthorizationFailedError):
                await producer.send_and_wait(topic, b"forged")
    async with AIOKafkaConsumer(**setup.client("gateway")) as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        consumer.seek(TopicPartition(topic, 0), 0)
        with pytest.raises(TopicAuthorizationFailedError):
            await consumer.getone()
    with pytest.raises(GroupAuthorizationFailedError):
        await _consume_as_member(AIOKafkaConsumer(topic, **setup.client("gateway"), group_id=group))
    with pytest.raises(TopicAuthorizationFailedError):
        await _consume_as_member(AIOKafkaConsumer(topic, **setup.client("nobody"), group_id=group))
    for user in ("consumer", "gateway", "nobody"):
        assert await _error_of_topic_creation(setup.client(user)) is TopicAuthorizationFailedError


async def _consume_as_member(member: Any) -> None:
    try:
        await member.start()
        await member.getone()
    finally:
        await member.stop()


async def _error_of_topic_creation(client: dict[str, Any]) -> type[Exception]:
    admin = AIOKafkaAdminClient(**client)
    await admin.start()
    try:
        response = await admin.create_topics([NewTopic("of-nobody", 1, 1)])
    finally:
        await admin.close()
    error: type[Exception] = for_code(response.topic_errors[0][1])
    return error


async def test_ingestion_without_acls_accepts_nothing_and_names_its_user(
    setup: Setup, start_ingestion: StartApi
) -> None:
    client = start_ingestion(setup.environment_of("nobody"))
    await _until_log_matches(setup.directory / "api.log", "waiting_for_kafka")
    assert "does not answer over SASL_SSL as nobody" in waiting_for(client)["gateway"]
    assert "send it again" in problem(client.post("/v1/ingestion/meter", content=meter("M", RECENTLY)), 503)["detail"]


@dataclass(frozen=True, slots=True)
class Misconfiguration:
    """Settings that the broker rejects, and a pattern of the error in the log."""

    settings: dict[str, str]
    log_pattern: str


@pytest.fixture(params=["password", "authority", "host", "plaintext", "ssl_without_password"])
def misconfiguration(request: pytest.FixtureRequest, secured_kafka: SecuredKafka, tmp_path: Path) -> Misconfiguration:
    password = tmp_path / "wrong-password"
    password.write_text("sasl-wrong-49c1d2")
    address = secured_kafka.entrance.bootstrap_servers.replace("localhost", "127.0.0.1")
    other_authority = str(secured_kafka.certificates.other_authority)
    closed = "Connection at .* closed"
    cases = {
        "password": ({"KAFKA_SASL_PASSWORD_FILE": str(password)}, "SaslAuthenticationFailed.*invalid credentials"),
        "authority": ({"KAFKA_SSL_CAFILE": other_authority}, "unable to get local issuer certificate"),
        "host": ({"KAFKA_BOOTSTRAP_SERVERS": address}, "certificate is not valid for '127.0.0.1'"),
        "plaintext": ({"KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"}, closed),
        "ssl_without_password": ({"KAFKA_SECURITY_PROTOCOL": "SSL"}, closed),
    }  # fmt: skip
    return Misconfiguration(*cases[request.param])


async def test_a_consumer_that_cannot_connect_logs_why(
    setup: Setup, misconfiguration: Misconfiguration, processes: Processes
) -> None:
    consumer = ConsumerGroup(
        processes, setup.environment_of("consumer") | misconfiguration.settings, setup.directory
    ).start()
    await consumer.until_logged("waiting_for_kafka")
    assert "does not answer over" in (await consumer.blocked_by())["kafka"]
    await _until_log_matches(consumer.log, misconfiguration.log_pattern)
    _assert_no_secret_in(setup, consumer.log)


async def test_ingestion_that_cannot_connect_logs_why(
    setup: Setup, misconfiguration: Misconfiguration, start_ingestion: StartApi
) -> None:
    client = start_ingestion(setup.environment_of("gateway") | misconfiguration.settings)
    log = setup.directory / "api.log"
    await _until_log_matches(log, misconfiguration.log_pattern)
    assert "does not answer over" in waiting_for(client)["gateway"]
    assert "send it again" in problem(client.post("/v1/ingestion/meter", content=meter("M", RECENTLY)), 503)["detail"]
    _assert_no_secret_in(setup, log)


async def _until_log_matches(log: Path, pattern: str) -> None:
    async def matches() -> bool:
        return bool(re.search(pattern, await asyncio.to_thread(log.read_text)))

    await until(matches, f"{log} matches {pattern}")


def _assert_no_secret_in(setup: Setup, log: Path) -> None:
    text = log.read_text()
    assert not [each for each in (*setup.secured_kafka.passwords.values(), "sasl-wrong-49c1d2") if each in text]
