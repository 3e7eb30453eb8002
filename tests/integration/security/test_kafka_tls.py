"""Services on a Kafka with SASL_SSL, SCRAM-SHA-512 and minimal ACLs, and what they report when it rejects them."""

import asyncio
import re
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError, for_code

from deploy.stack.processes import Processes
from deploy.stack.topics import create_topics
from tests.integration.api.test_ingestion import wait_until_ready, waiting_for
from tests.support.command import Command
from tests.support.database import Database
from tests.support.ledger import Entry, Topics, ledger, until_consumed
from tests.support.records import meter, vehicle
from tests.support.responses import StartApi, body, problem
from tests.support.services import ConsumerGroup, ingestion_service
from tests.support.waiting import until
from tests.tls.kafka import SecuredKafka, consumer_acls, create_acls, ingestion_acls

pytestmark = pytest.mark.anyio
RECENTLY = datetime.now(UTC) - timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Setup:
    """Topics on the secured broker with the ACLs of our services, and the environment of a service there."""

    secured_kafka: SecuredKafka
    topics: Topics
    alerts: str
    environment: dict[str, str]
    directory: Path

    def environment_of(self, user: str) -> dict[str, str]:
        return self.environment | self.secured_kafka.settings(user, self.directory)

    def client(self, user: str) -> dict[str, Any]:
        """Arguments of an aiokafka client that connects as a user."""
        return {
            "bootstrap_servers": self.secured_kafka.entrance.bootstrap_servers,
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_plain_username": user,
            "sasl_plain_password": self.secured_kafka.passwords[user],
            "ssl_context": ssl.create_default_context(cafile=self.secured_kafka.certificates.authority),
        }


@pytest.fixture
def setup(secured_kafka: SecuredKafka, new_topics: Topics, environment: dict[str, str], tmp_path: Path) -> Setup:
    alerts = f"alerts-of-{new_topics.meter}"
    read = (new_topics.meter, new_topics.vehicle, new_topics.assignment)
    administrator = secured_kafka.kafka.bootstrap_servers
    asyncio.run(create_topics(administrator, [*read, alerts], partitions=new_topics.partitions))
    asyncio.run(
        create_acls(
            secured_kafka,
            [
                *consumer_acls(read, alerts, environment["KAFKA_GROUP_ID"]),
                *ingestion_acls((new_topics.meter, new_topics.vehicle)),
            ],
        )
    )
    return Setup(secured_kafka, new_topics, alerts, environment | {"KAFKA_ALERT_TOPIC": alerts}, tmp_path)


@pytest.fixture
def start_ingestion(processes: Processes, tmp_path: Path) -> Iterator[StartApi]:
    """Starts the ingestion service alone, without a database, in a given environment."""
    with ExitStack() as exits:

        def start(environment: dict[str, str]) -> httpx.Client:
            without_database = {name: value for name, value in environment.items() if not name.startswith("DATABASE_")}
            return exits.enter_context(ingestion_service(processes, without_database, tmp_path))

        yield start


def assert_no_password_is_logged(setup: Setup) -> None:
    logs = list(setup.directory.glob("*.log"))
    assert logs
    for log in logs:
        for password in setup.secured_kafka.passwords.values():
            assert password not in log.read_text(), f"{log} contains a password"


async def until_written(database: Database, topics: Topics, each: int) -> None:
    """Waits for this many readings of each type, and checks the ledger."""
    await until_consumed(database, None, 2 * each, timeout=120)
    nothing = Entry(0, 0, 0, 0)
    assert await ledger(database, topics) == {
        topics.meter: Entry(each, each, 0, 0),
        topics.vehicle: Entry(each, each, 0, 0),
        topics.assignment: nothing,
    }


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
