"""Passwords and keys stand nowhere but where they are needed: all that our processes say and serve is searched for them."""

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
from tests.tls.kafka import Guarded, allow, rights_of_consumer, rights_of_gateway

pytestmark = pytest.mark.anyio
URLS = ("DATABASE_URL", "DATABASE_READ_URL")
COMMANDS = [["migrate"], ["maintain", "--once"], ["assign", "-"]]
ASSIGNED = b"vehicle_id,meter_id,valid_from,valid_to\nVEH-1,METER-1,2026-01-01T00:00:00Z,\n"


@dataclass(slots=True)
class Planted:
    """What must not be found, and all that was said."""

    secrets: dict[str, str] = field(repr=False)
    heard: dict[str, str] = field(default_factory=dict, repr=False)

    def hear(self, name: str, text: str) -> None:
        self.heard[name] = self.heard.get(name, "") + text

    def nowhere(self) -> None:
        """Nothing planted was heard, and every source has said something."""
        assert [name for name, text in self.heard.items() if not text] == []
        told = [
            (source, name)
            for source, text in self.heard.items()
            for name, secret in self.secrets.items()
            if secret in text
        ]
        assert told == []


@pytest.fixture
def planted(guarded: Guarded, database: Database) -> Planted:
    known = {f"the database's password of {login}": _password(url) for login, url in (
        ("the owner", database.migrator_url), ("the writer", database.writer_url), ("the reader", database.reader_url)
    )}  # fmt: skip
    wrong = {"a wrong password": f"wrong-{secrets.token_hex(12)}"}
    return Planted(known | wrong | {f"the password of {user}": each for user, each in guarded.passwords.items()})


@pytest.fixture
def behind(guarded: Guarded, stack: Servers, new_topics: Topics, environment: dict[str, str]) -> dict[str, str]:
    """The environment of our processes, where Kafka asks for passwords."""
    if stack.postgres is None:
        pytest.skip("a server of somebody else may not ask for passwords")
    read = (new_topics.meter, new_topics.vehicle, new_topics.assignment)
    alerts = f"alerts-of-{new_topics.meter}"
    asyncio.run(create_topics(guarded.kafka.bootstrap_servers, [*read, alerts], partitions=new_topics.partitions))
    rights = [*rights_of_consumer(read, alerts, environment["KAFKA_GROUP_ID"]), *rights_of_gateway(read[:2])]
    asyncio.run(allow(guarded, rights))
    return environment | {"KAFKA_ALERT_TOPIC": alerts, "LOG_LEVEL": "DEBUG"}


def _password(url: str) -> str:
    password = urlsplit(url).password
    assert password
    return password


def _with_password(url: str, password: str) -> str:
    return url.replace(f":{_password(url)}@", f":{password}@")


def _unreachable(url: str) -> str:
    return url.replace(f":{urlsplit(url).port}/", f":{free_port()}/")


async def test_processes_that_work_tell_no_secret(
    planted: Planted, behind: dict[str, str], guarded: Guarded, processes: Processes, tmp_path: Path
) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    planted.secrets["an API key"] = keys.add(Scope.INGEST, Scope.READ)
    header = bearer(planted.secrets["an API key"])
    replica = ConsumerGroup(processes, behind | guarded.settings("consumer", tmp_path), tmp_path).start()
    as_gateway = behind | guarded.settings("gateway", tmp_path) | keys.settings
    with read_service(processes, as_gateway, tmp_path) as client:

        async def taken() -> bool:
            sent = await asyncio.to_thread(
                client.post, "/v1/ingestion/meter", content=meter(at=minute(1)), headers=header
            )
            return sent.status_code == 201

        await until(taken, "the gateway takes a reading")
        await replica.until_ready()
        for path in ("/metrics", "/readyz", "/healthz", "/openapi.json", "/v1/vehicles", "/v1/vehicles/VEH-9"):
            planted.hear(f"api {path}", client.get(path, headers=header).text)
        planted.hear("api without a key", client.get("/v1/vehicles").text)
    await _listen_to_replica(planted, replica.log, await replica.address())
    planted.hear("api log", (tmp_path / "api.log").read_text())
    planted.nowhere()


async def _listen_to_replica(planted: Planted, log: Path, address: str) -> None:
    async with httpx.AsyncClient(base_url=address) as client:
        for path in ("/metrics", "/readyz", "/healthz"):
            planted.hear(f"consumer {path}", (await client.get(path)).text)
    planted.hear("consumer log", await asyncio.to_thread(log.read_text))


@pytest.mark.parametrize("broken", ["passwords", "addresses"])
async def test_processes_that_are_refused_or_find_nobody_tell_no_secret(
    planted: Planted, behind: dict[str, str], guarded: Guarded, processes: Processes, tmp_path: Path, broken: str
) -> None:
    environment = behind | guarded.settings("gateway", tmp_path)
    if broken == "passwords":
        environment |= {each: _with_password(behind[each], planted.secrets["a wrong password"]) for each in URLS}
        (tmp_path / "gateway-password").write_text(planted.secrets["a wrong password"])
    else:
        environment |= {each: _unreachable(behind[each]) for each in URLS}
        environment["KAFKA_BOOTSTRAP_SERVERS"] = f"localhost:{free_port()}"
    replica = ConsumerGroup(processes, environment, tmp_path).start()
    await replica.until_logged("waiting_for_kafka")
    await _listen_to_replica(planted, replica.log, await replica.address())
    with read_service(processes, environment, tmp_path) as client:
        for path in ("/metrics", "/readyz", "/v1/vehicles"):
            planted.hear(f"api {path}", client.get(path).text)
        planted.hear("a reading", client.post("/v1/ingestion/meter", content=meter(at=minute(1))).text)
    planted.hear("api log", (tmp_path / "api.log").read_text())
    with ingestion_service(processes, environment, tmp_path) as client:
        for path in ("/metrics", "/readyz"):
            planted.hear(f"gateway {path}", client.get(path).text)
    planted.hear("gateway log", (tmp_path / "api.log").read_text())
    planted.nowhere()


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda each: each[0])
async def test_commands_tell_no_secret(
    planted: Planted, behind: dict[str, str], database: Database, arguments: list[str]
) -> None:
    urls = {
        "good": database.migrator_url,
        "wrong": _with_password(database.migrator_url, planted.secrets["a wrong password"]),
        "writer": database.writer_url,
        "nobody there": _unreachable(database.migrator_url),
    }
    for name, url in urls.items():
        said = await _says(behind | {"DATABASE_URL": url}, arguments, waits=name == "nobody there")
        planted.hear(name, f"{arguments[0]}: {said}")
    assert planted.heard["wrong"].count("password authentication failed") > 0
    planted.nowhere()


async def _says(environment: dict[str, str], arguments: list[str], *, waits: bool = False) -> str:
    """All that a command says: until it ends, or until its first lines when it waits for a database that is not there."""
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
            said = b"".join([await process.stdout.readline() for _ in range(3)])
            process.terminate()
            said += await process.stdout.read()
        else:
            said = await process.stdout.read()
        await process.wait()
    return said.decode()
