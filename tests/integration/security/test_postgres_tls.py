"""PostgreSQL with TLS and no other way in: our processes with `sslmode=verify-full`, and what each says when it is refused."""

import asyncio
import itertools
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from pydantic import SecretStr

from deploy.stack.processes import Processes
from deploy.stack.servers import Servers
from sql.migrate import migrate
from sql.settings import SqlSettings
from tests.support.database import Database, new_database
from tests.support.ledger import Topics
from tests.support.records import meter, minute, vehicle
from tests.support.repository import ROOT
from tests.support.responses import body
from tests.support.services import ConsumerGroup, read_service, service_environment
from tests.support.waiting import until
from tests.tls.postgres import Encrypted, verified

pytestmark = pytest.mark.anyio
_numbers = itertools.count(1)
ASSIGNED = "vehicle_id,meter_id,valid_from,valid_to\nVEH-1,METER-1,2026-01-01T00:00:00Z,\n"
# What is wrong -> what each process then says of it.
REFUSALS = {
    "authority": "unable to get local issuer certificate",
    "host": "certificate is not valid for '127.0.0.1'",
    "plaintext": "no pg_hba.conf entry",
}


@pytest.fixture(scope="module")
def empty(encrypted: Encrypted) -> Iterator[Database]:
    """Nothing migrated yet."""
    with new_database(encrypted.servers, f"energy_tls_{os.getpid()}_{next(_numbers)}") as made:
        yield made


@pytest.fixture(scope="module")
def migrated(encrypted: Encrypted) -> Iterator[Database]:
    with new_database(encrypted.servers, f"energy_tls_{os.getpid()}_{next(_numbers)}") as made:
        asyncio.run(migrate(SqlSettings(database_url=SecretStr(made.migrator_url))))
        yield made


@pytest.fixture
def there(stack: Servers, migrated: Database, topics: Topics) -> dict[str, str]:
    """The environment of our processes."""
    return service_environment(stack, migrated, topics) | {"LOG_LEVEL": "DEBUG"}


@pytest.fixture(params=REFUSALS)
def wrong(request: pytest.FixtureRequest, encrypted: Encrypted, migrated: Database) -> tuple[dict[str, str], str]:
    """Addresses that do not work, and what is said of them."""
    good = encrypted.certificates
    authority = good.stranger if request.param == "authority" else good.authority
    host = "127.0.0.1" if request.param == "host" else "localhost"
    mode = "disable" if request.param == "plaintext" else "verify-full"
    urls = {
        "DATABASE_URL": verified(migrated.writer_url, authority, host, mode),
        "DATABASE_READ_URL": verified(migrated.reader_url, authority, host, mode),
    }
    return urls, REFUSALS[request.param]


@asynccontextmanager
async def nobody_unencrypted(encrypted: Encrypted) -> AsyncIterator[list[str]]:
    """Looks at the sessions of clients all the time while the block runs; gives the names of those that were seen."""
    administrator = await asyncpg.connect(
        verified(encrypted.postgres.url("postgres", "postgres"), encrypted.certificates.authority)
    )
    seen: list[str] = []
    done = asyncio.Event()

    async def look() -> None:
        while not done.is_set():
            for row in await administrator.fetch(
                "SELECT coalesce(nullif(application_name, ''), usename) AS name, ssl FROM pg_stat_activity "
                "JOIN pg_stat_ssl USING (pid) WHERE backend_type = 'client backend' AND usename IS NOT NULL"  # it has come in
            ):
                assert row["ssl"], f"{row['name']} is not encrypted"
                if row["name"] not in seen:
                    seen.append(row["name"])
            await asyncio.sleep(0.01)

    looking = asyncio.create_task(look())
    try:
        yield seen
    finally:
        done.set()
        try:
            await looking
        finally:
            await administrator.close()


async def sql(environment: dict[str, str], *arguments: str, given: str = "") -> tuple[int, str]:
    """`python -m sql ...`: its exit code, and all it says."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sql", *arguments, env=environment, cwd=ROOT,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(120):
        said, _ = await process.communicate(given.encode())
    assert b"Traceback" not in said, said.decode()
    return process.returncode or 0, said.decode()


async def test_the_commands_of_the_database_work(
    encrypted: Encrypted, empty: Database, environment: dict[str, str]
) -> None:
    as_owner = environment | {"DATABASE_URL": empty.migrator_url}
    async with nobody_unencrypted(encrypted) as seen:
        for arguments in (["migrate"], ["migrate"], ["maintain", "--once"], ["assign", "-"]):
            code, said = await sql(as_owner, *arguments, given=ASSIGNED)
            assert code == 0, said
    assert {"energy-maintain", "migrator"} <= set(seen)
    assert await empty.value("SELECT count(*) FROM vehicle_meter_assignments") == 1


async def test_readings_reach_the_database_and_are_read(
    encrypted: Encrypted,
    there: dict[str, str],
    migrated: Database,
    topics: Topics,
    processes: Processes,
    tmp_path: Path,
) -> None:
    async with AIOKafkaProducer(bootstrap_servers=there["KAFKA_BOOTSTRAP_SERVERS"], acks="all") as producer:
        for number in range(20):
            await producer.send(topics.meter, meter("METER-1", minute(number)), b"METER-1")
            await producer.send(topics.vehicle, vehicle("VEH-1", minute(number), soc=42), b"VEH-1")
    async with nobody_unencrypted(encrypted) as seen:
        replica = ConsumerGroup(processes, there, tmp_path).start()

        async def all_there() -> bool:
            return bool(
                await migrated.value(
                    "SELECT coalesce(sum(records_consumed), 0) = 40 FROM kafka_offsets WHERE topic = ANY($1)",
                    [topics.meter, topics.vehicle],
                )
            )

        await until(all_there, "40 readings are consumed", timeout=120)
        await replica.until_ready()
        with read_service(processes, there, tmp_path) as client:
            assert (await asyncio.to_thread(client.get, "/readyz")).status_code == 200
            assert body(await asyncio.to_thread(client.get, "/v1/vehicles/VEH-1"))["soc"] == 42
    assert {"energy-consumer", "energy-api"} <= set(seen)


async def test_the_server_takes_nobody_without_tls(encrypted: Encrypted, migrated: Database) -> None:
    for url in (migrated.migrator_url, migrated.writer_url, migrated.reader_url):
        with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError, match="no encryption"):
            await asyncpg.connect(verified(url, encrypted.certificates.authority, mode="disable"))


@pytest.mark.parametrize("arguments", [["migrate"], ["maintain", "--once"], ["assign", "-"]], ids=lambda each: each[0])
async def test_a_command_that_is_refused_says_why(
    there: dict[str, str], wrong: tuple[dict[str, str], str], arguments: list[str]
) -> None:
    urls, says = wrong
    code, said = await sql(there | urls, *arguments, given=ASSIGNED)
    assert code == 1
    assert says in said


async def test_a_consumer_that_is_refused_says_why(
    there: dict[str, str], wrong: tuple[dict[str, str], str], processes: Processes, tmp_path: Path
) -> None:
    urls, says = wrong
    replica = ConsumerGroup(processes, there | urls, tmp_path).start()

    async def told() -> bool:
        return replica.log.exists() and says in replica.log.read_text()

    await until(told, f"the log says {says}")
    assert await replica.blocked_by() != {}
    assert replica.process.poll() is None


async def test_a_read_service_that_is_refused_says_why(
    there: dict[str, str], wrong: tuple[dict[str, str], str], processes: Processes, tmp_path: Path
) -> None:
    urls, says = wrong
    with read_service(processes, there | urls, tmp_path) as client:
        assert client.get("/readyz").status_code == 503
        assert client.get("/v1/vehicles/VEH-1").status_code == 503

        async def told() -> bool:
            return says in client.get("/readyz").text or says in (tmp_path / "api.log").read_text()

        await until(told, f"it says {says}")
