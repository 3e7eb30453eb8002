"""Kafka with SASL_SSL and SCRAM-SHA-512, as a deployment should have it: our processes, with the smallest rights that do."""

import asyncio
import re
import ssl
import sys
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
from tests.support.answers import Ask, body, problem
from tests.support.records import meter, vehicle
from tests.support.servers import Database, Entry, Topics, ledger
from tests.support.services import ROOT, Group, gateway_service
from tests.support.waiting import until
from tests.tls.kafka import Guarded, allow, rights_of_consumer, rights_of_gateway

pytestmark = pytest.mark.anyio
LATELY = datetime.now(UTC) - timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Place:
    """Topics on the guarded broker, with the rights that our processes need there, and the environments to come there by."""

    guarded: Guarded
    topics: Topics
    alerts: str
    environment: dict[str, str]
    directory: Path

    def of(self, user: str) -> dict[str, str]:
        return self.environment | self.guarded.settings(user, self.directory)

    def client(self, user: str) -> dict[str, Any]:
        """Arguments of an aiokafka client that comes in as a user."""
        return {
            "bootstrap_servers": self.guarded.entrance.bootstrap_servers,
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_plain_username": user,
            "sasl_plain_password": self.guarded.passwords[user],
            "ssl_context": ssl.create_default_context(cafile=self.guarded.certificates.authority),
        }


@pytest.fixture
def place(guarded: Guarded, new_topics: Topics, environment: dict[str, str], tmp_path: Path) -> Place:
    alerts = f"alerts-of-{new_topics.meter}"
    read = (new_topics.meter, new_topics.vehicle, new_topics.assignment)
    administrator = guarded.kafka.bootstrap_servers
    asyncio.run(create_topics(administrator, [*read, alerts], partitions=new_topics.partitions))
    asyncio.run(
        allow(
            guarded,
            [
                *rights_of_consumer(read, alerts, environment["KAFKA_GROUP_ID"]),
                *rights_of_gateway((new_topics.meter, new_topics.vehicle)),
            ],
        )
    )
    return Place(guarded, new_topics, alerts, environment | {"KAFKA_ALERT_TOPIC": alerts}, tmp_path)


@pytest.fixture
def gateway(processes: Processes, tmp_path: Path) -> Iterator[Ask]:
    """Starts the gateway alone, with the environment that it is given."""
    with ExitStack() as exits:

        def start(environment: dict[str, str]) -> httpx.Client:
            alone = {name: value for name, value in environment.items() if not name.startswith("DATABASE_")}
            return exits.enter_context(gateway_service(processes, alone, tmp_path))

        yield start


def no_password_in(place: Place) -> None:
    logs = list(place.directory.glob("*.log"))
    assert logs
    for log in logs:
        for password in place.guarded.passwords.values():
            assert password not in log.read_text(), f"{log} tells a password"


async def until_consumed(database: Database, topics: Topics, each: int) -> None:
    async def all_there() -> bool:
        return bool(
            await database.value("SELECT coalesce(sum(records_consumed), 0) >= $1 FROM kafka_offsets", 2 * each)
        )

    await until(all_there, f"{each} readings a side are consumed", timeout=120)
    nothing = Entry(0, 0, 0, 0)
    assert await ledger(database, topics) == {
        topics.meter: Entry(each, each, 0, 0),
        topics.vehicle: Entry(each, each, 0, 0),
        topics.assignment: nothing,
    }


async def test_a_reading_goes_the_whole_way_over_tls(
    place: Place, database: Database, processes: Processes, gateway: Ask, ask: Ask
) -> None:
    entrance = gateway(place.of("gateway"))
    await wait_until_ready(entrance)
    group = Group(processes, place.of("consumer"), place.directory)
    replica = group.start()
    for number in range(20):
        at = LATELY + timedelta(seconds=number)
        assert entrance.post("/v1/ingestion/meter", content=meter("METER-1", at)).status_code == 201
        assert entrance.post("/v1/ingestion/vehicle", content=vehicle("VEH-1", at, soc=41)).status_code == 201
    await until_consumed(database, place.topics, 20)
    await replica.until_ready()

    client = ask(INGESTION_ENABLED="false")
    assert body(client.get("/v1/vehicles/VEH-1"))["soc"] == 41
    assert body(client.get("/v1/meters/METER-1"))["lastVoltage"] == 240.5
    assert group.stop(replica) == 0
    no_password_in(place)


async def test_alerts_are_sent_over_tls(place: Place, database: Database, processes: Processes) -> None:
    await database.execute("INSERT INTO alert_outbox (key, value) VALUES ('VEH-1', 'told')")
    Group(processes, place.of("consumer"), place.directory).start()

    async def sent() -> bool:
        return bool(await database.value("SELECT bool_and(published_at IS NOT NULL) FROM alert_outbox"))

    await until(sent, "the alert is sent", timeout=120)
    administrator = AIOKafkaConsumer(
        place.alerts, bootstrap_servers=place.guarded.kafka.bootstrap_servers, auto_offset_reset="earliest"
    )
    async with administrator:
        assert (await administrator.getone()).value == b"told"


async def test_the_simulator_sends_over_tls(place: Place, database: Database, processes: Processes) -> None:
    sending = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "deploy.simulator", "run", "--no-live", "--backfill-hours", "1", "--backfill-devices", "2",
        "--devices", "2", env=place.of("gateway"), cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    printed, said = await sending.communicate()
    assert sending.returncode == 0, said.decode()
    assert b'"acknowledged":240' in printed
    Group(processes, place.of("consumer"), place.directory).start()
    await until_consumed(database, place.topics, 120)


async def test_nobody_may_do_more_than_it_needs(place: Place) -> None:
    """Sending by a consumer, reading by a gateway, making topics by either, and anything at all by others."""
    reading, group = place.topics.meter, place.environment["KAFKA_GROUP_ID"]
    for user in ("consumer", "nobody"):
        async with AIOKafkaProducer(**place.client(user)) as producer:
            with pytest.raises(TopicAuthorizationFailedError):
                await producer.send_and_wait(reading, b"forged")
    async with AIOKafkaConsumer(**place.client("gateway")) as consumer:
        consumer.assign([TopicPartition(reading, 0)])
        consumer.seek(TopicPartition(reading, 0), 0)
        with pytest.raises(TopicAuthorizationFailedError):
            await consumer.getone()
    with pytest.raises(GroupAuthorizationFailedError):
        await _read_as_member(AIOKafkaConsumer(reading, **place.client("gateway"), group_id=group))
    with pytest.raises(TopicAuthorizationFailedError):
        await _read_as_member(AIOKafkaConsumer(reading, **place.client("nobody"), group_id=group))
    for user in ("consumer", "gateway", "nobody"):
        assert await _refusal_of_a_topic(place.client(user)) is TopicAuthorizationFailedError


async def _read_as_member(member: Any) -> None:
    try:
        await member.start()
        await member.getone()
    finally:
        await member.stop()


async def _refusal_of_a_topic(client: dict[str, Any]) -> type[Exception]:
    admin = AIOKafkaAdminClient(**client)
    await admin.start()
    try:
        answer = await admin.create_topics([NewTopic("of-nobody", 1, 1)])
    finally:
        await admin.close()
    refusal: type[Exception] = for_code(answer.topic_errors[0][1])
    return refusal


async def test_a_gateway_without_rights_takes_nothing_and_names_its_user(place: Place, gateway: Ask) -> None:
    client = gateway(place.of("nobody"))
    await _log_says(place.directory / "api.log", "waiting_for_kafka")
    assert "does not answer over SASL_SSL as nobody" in waiting_for(client)["gateway"]
    assert "send it again" in problem(client.post("/v1/ingestion/meter", content=meter("M", LATELY)), 503)["detail"]


@dataclass(frozen=True, slots=True)
class Wrong:
    """Settings that the broker refuses, and what the log then says."""

    settings: dict[str, str]
    says: str


@pytest.fixture(params=["password", "authority", "host", "plaintext", "ssl_without_password"])
def wrong(request: pytest.FixtureRequest, guarded: Guarded, tmp_path: Path) -> Wrong:
    password = tmp_path / "wrong-password"
    password.write_text("sasl-wrong-49c1d2")
    address = guarded.entrance.bootstrap_servers.replace("localhost", "127.0.0.1")
    closed = "Connection at .* closed"
    kinds = {
        "password": ({"KAFKA_SASL_PASSWORD_FILE": str(password)}, "SaslAuthenticationFailed.*invalid credentials"),
        "authority": ({"KAFKA_SSL_CAFILE": str(guarded.certificates.stranger)}, "unable to get local issuer certificate"),
        "host": ({"KAFKA_BOOTSTRAP_SERVERS": address}, "certificate is not valid for '127.0.0.1'"),
        "plaintext": ({"KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"}, closed),
        "ssl_without_password": ({"KAFKA_SECURITY_PROTOCOL": "SSL"}, closed),
    }  # fmt: skip
    return Wrong(*kinds[request.param])


async def test_a_consumer_that_is_refused_says_so(place: Place, wrong: Wrong, processes: Processes) -> None:
    replica = Group(processes, place.of("consumer") | wrong.settings, place.directory).start()
    await replica.says("waiting_for_kafka")
    assert "does not answer over" in (await replica.ready())["kafka"]
    await _log_says(replica.log, wrong.says)
    _no_secret(place, replica.log)


async def test_a_gateway_that_is_refused_says_so(place: Place, wrong: Wrong, gateway: Ask) -> None:
    client = gateway(place.of("gateway") | wrong.settings)
    log = place.directory / "api.log"
    await _log_says(log, wrong.says)
    assert "does not answer over" in waiting_for(client)["gateway"]
    assert "send it again" in problem(client.post("/v1/ingestion/meter", content=meter("M", LATELY)), 503)["detail"]
    _no_secret(place, log)


async def _log_says(log: Path, pattern: str) -> None:
    async def said() -> bool:
        return bool(re.search(pattern, await asyncio.to_thread(log.read_text)))

    await until(said, f"{log} says {pattern}")


def _no_secret(place: Place, log: Path) -> None:
    text = log.read_text()
    assert not [each for each in (*place.guarded.passwords.values(), "sasl-wrong-49c1d2") if each in text]
