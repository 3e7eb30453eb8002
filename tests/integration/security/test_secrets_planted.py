"""Secrets never leak: the logs, responses and output of every process are searched for passwords and API keys."""

import asyncio
import secrets
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from api.auth.api_keys import Scope
from deploy.stack.ports import free_port
from deploy.stack.processes import Processes
from deploy.stack.servers import Servers
from deploy.stack.topics import create_topics
from tests.support.database import Database
from tests.support.key_file import KeyFile, bearer
from tests.support.ledger import Topics
from tests.support.records import meter, minute
from tests.support.repository import ROOT
from tests.support.services import ConsumerGroup, ingestion_service, read_service
from tests.support.waiting import until
from tests.tls.kafka import SecuredKafka, consumer_acls, create_acls, ingestion_acls

pytestmark = pytest.mark.anyio
URLS = ("DATABASE_URL", "DATABASE_READ_URL")
COMMANDS = [["migrate"], ["maintain", "--once"], ["assign", "-"]]
ASSIGNED = b"vehicle_id,meter_id,valid_from,valid_to\nVEH-1,METER-1,2026-01-01T00:00:00Z,\n"


@dataclass(slots=True)
class PlantedSecrets:
    """Secrets by their description, and the collected output of every source."""

    secrets: dict[str, str] = field(repr=False)
    output: dict[str, str] = field(default_factory=dict, repr=False)

    def collect(self, source: str, text: str) -> None:
        self.output[source] = self.output.get(source, "") + text

    def assert_none_leaked(self) -> None:
        """No output contains a secret, and no source is silent."""
        assert [source for source, text in self.output.items() if not text] == []
        leaks = [
            (source, name)
            for source, text in self.output.items()
            for name, secret in self.secrets.items()
            if secret in text
        ]
        assert leaks == []


@pytest.fixture
def planted(secured_kafka: SecuredKafka, database: Database) -> PlantedSecrets:
    passwords = {f"the database's password of {login}": _password(url) for login, url in (
        ("the owner", database.migrator_url), ("the writer", database.writer_url), ("the reader", database.reader_url)
    )}  # fmt: skip
    wrong = {"a wrong password": f"wrong-{secrets.token_hex(12)}"}
    return PlantedSecrets(
        passwords | wrong | {f"the password of {user}": each for user, each in secured_kafka.passwords.items()}
    )


@pytest.fixture
def secured_environment(
    secured_kafka: SecuredKafka, stack: Servers, new_topics: Topics, environment: dict[str, str]
) -> dict[str, str]:
    """The environment of a service on the Kafka that requires passwords."""
    if stack.postgres is None:
        pytest.skip("an external PostgreSQL may accept connections without a password")
    read = (new_topics.meter, new_topics.vehicle, new_topics.assignment)
    alerts = f"alerts-of-{new_topics.meter}"
    asyncio.run(create_topics(secured_kafka.kafka.bootstrap_servers, [*read, alerts], partitions=new_topics.partitions))
    acls = [*consumer_acls(read, alerts, environment["KAFKA_GROUP_ID"]), *ingestion_acls(read[:2])]
    asyncio.run(create_acls(secured_kafka, acls))
    return environment | {"KAFKA_ALERT_TOPIC": alerts, "LOG_LEVEL": "DEBUG"}


def _password(url: str) -> str:
    password = urlsplit(url).password
    assert password
    return password


def _with_password(url: str, password: str) -> str:
    return url.replace(f":{_password(url)}@", f":{password}@")


def _unreachable(url: str) -> str:
    return url.replace(f":{urlsplit(url).port}/", f":{free_port()}/")


async def test_working_services_leak_no_secret(
    planted: PlantedSecrets,
    secured_environment: dict[str, str],
    secured_kafka: SecuredKafka,
    processes: Processes,
    tmp_path: Path,
) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    planted.secrets["an API key"] = keys.add(Scope.INGEST, Scope.READ)
    header = bearer(planted.secrets["an API key"])
    consumer = ConsumerGroup(
        processes, secured_environment | secured_kafka.settings("consumer", tmp_path), tmp_path
    ).start()
    ingestion_environment = secured_environment | secured_kafka.settings("gateway", tmp_path) | keys.settings
    with read_service(processes, ingestion_environment, tmp_path) as client:

        async def accepted() -> bool:
            response = await asyncio.to_thread(
                client.post, "/v1/ingestion/meter", content=meter(at=minute(1)), headers=header
            )
            return response.status_code == 201

        await until(accepted, "a reading is accepted")
        await consumer.until_ready()
        for path in ("/metrics", "/readyz", "/healthz", "/openapi.json", "/v1/vehicles", "/v1/vehicles/VEH-9"):
            planted.collect(f"api {path}", client.get(path, headers=header).text)
        planted.collect("api without a key", client.get("/v1/vehicles").text)
    await _collect_from_consumer(planted, consumer.log, await consumer.address())
    planted.collect("api log", (tmp_path / "api.log").read_text())
    planted.assert_none_leaked()


async def _collect_from_consumer(planted: PlantedSecrets, log: Path, address: str) -> None:
    async with httpx.AsyncClient(base_url=address) as client:
        for path in ("/metrics", "/readyz", "/healthz"):
            planted.collect(f"consumer {path}", (await client.get(path)).text)
    planted.collect("consumer log", await asyncio.to_thread(log.read_text))


@pytest.mark.parametrize("broken", ["passwords", "addresses"])
async def test_services_that_cannot_connect_leak_no_secret(
    planted: PlantedSecrets,
    secured_environment: dict[str, str],
    secured_kafka: SecuredKafka,
    processes: Processes,
    tmp_path: Path,
    broken: str,
) -> None:
    environment = secured_environment | secured_kafka.settings("gateway", tmp_path)
    if broken == "passwords":
        environment |= {
            each: _with_password(secured_environment[each], planted.secrets["a wrong password"]) for each in URLS
        }
        (tmp_path / "gateway-password").write_text(planted.secrets["a wrong password"])
    else:
        environment |= {each: _unreachable(secured_environment[each]) for each in URLS}
        environment["KAFKA_BOOTSTRAP_SERVERS"] = f"localhost:{free_port()}"
    consumer = ConsumerGroup(processes, environment, tmp_path).start()
    await consumer.until_logged("waiting_for_kafka")
    await _collect_from_consumer(planted, consumer.log, await consumer.address())
    with read_service(processes, environment, tmp_path) as client:
        for path in ("/metrics", "/readyz", "/v1/vehicles"):
            planted.collect(f"api {path}", client.get(path).text)
        planted.collect("a reading", client.post("/v1/ingestion/meter", content=meter(at=minute(1))).text)
    planted.collect("api log", (tmp_path / "api.log").read_text())
    with ingestion_service(processes, environment, tmp_path) as client:
        for path in ("/metrics", "/readyz"):
            planted.collect(f"gateway {path}", client.get(path).text)
    planted.collect("gateway log", (tmp_path / "api.log").read_text())
    planted.assert_none_leaked()


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda each: each[0])
async def test_commands_leak_no_secret(
    planted: PlantedSecrets, secured_environment: dict[str, str], database: Database, arguments: list[str]
) -> None:
    urls = {
        "good": database.migrator_url,
        "wrong": _with_password(database.migrator_url, planted.secrets["a wrong password"]),
        "writer": database.writer_url,
        "unreachable": _unreachable(database.migrator_url),
    }
    for name, url in urls.items():
        output = await _output_of(secured_environment | {"DATABASE_URL": url}, arguments, waits=name == "unreachable")
        planted.collect(name, f"{arguments[0]}: {output}")
    assert planted.output["wrong"].count("password authentication failed") > 0
    planted.assert_none_leaked()


async def _output_of(environment: dict[str, str], arguments: list[str], *, waits: bool = False) -> str:
    """The output of a command. One that waits for an unreachable database is terminated after its first lines."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sql", *arguments, env=environment, cwd=ROOT,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdin
    assert process.stdout
    process.stdin.write(ASSIGNED)
    process.stdin.close()
    async with asyncio.timeout(120):
        if waits and arguments[0] != "maintain":
            output = b"".join([await process.stdout.readline() for _ in range(3)])
            process.terminate()
            output += await process.stdout.read()
        else:
            output = await process.stdout.read()
        await process.wait()
    return output.decode()
