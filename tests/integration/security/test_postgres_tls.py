"""Services and commands on a PostgreSQL that accepts only TLS, and what each reports when a connection is rejected."""

import asyncio
import itertools
import os
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
from tests.support.command import Command, sql_command
from tests.support.database import Database, new_database
from tests.support.ledger import Topics, until_consumed
from tests.support.records import meter, minute, vehicle
from tests.support.responses import body
from tests.support.services import ConsumerGroup, read_service, service_environment
from tests.support.waiting import until
from tests.tls.postgres import CERTIFICATE_DATABASES, TlsPostgres, with_tls

pytestmark = pytest.mark.anyio
_numbers = itertools.count(1)
ASSIGNED = "vehicle_id,meter_id,valid_from,valid_to\nVEH-1,METER-1,2026-01-01T00:00:00Z,\n"
# The misconfiguration, and the error that every process reports.
ERRORS = {
    "authority": "certificate verify failed: self-signed certificate in certificate chain",
    "host": "certificate is not valid for '127.0.0.1'",
    "plaintext": "no pg_hba.conf entry",
}


@pytest.fixture(scope="module")
def empty(tls_postgres: TlsPostgres) -> Iterator[Database]:
    """A database without migrations."""
    with new_database(tls_postgres.servers, f"energy_tls_{os.getpid()}_{next(_numbers)}") as database:
        yield database


@pytest.fixture(scope="module")
def migrated(tls_postgres: TlsPostgres) -> Iterator[Database]:
    with new_database(tls_postgres.servers, f"energy_tls_{os.getpid()}_{next(_numbers)}") as database:
        asyncio.run(migrate(SqlSettings(database_url=SecretStr(database.migrator_url))))
        yield database


@pytest.fixture
def tls_environment(stack: Servers, migrated: Database, topics: Topics) -> dict[str, str]:
    """The environment of a service on this PostgreSQL."""
    return service_environment(stack, migrated, topics) | {"LOG_LEVEL": "DEBUG"}


@pytest.fixture(params=ERRORS)
def misconfiguration(
    request: pytest.FixtureRequest, tls_postgres: TlsPostgres, migrated: Database
) -> tuple[dict[str, str], str]:
    """URLs that cannot connect, and the error that must be reported."""
    certificates = tls_postgres.certificates
    authority = certificates.other_authority if request.param == "authority" else certificates.authority
    host = "127.0.0.1" if request.param == "host" else "localhost"
    mode = "disable" if request.param == "plaintext" else "verify-full"
    urls = {
        "DATABASE_URL": with_tls(migrated.writer_url, authority, host, mode),
        "DATABASE_READ_URL": with_tls(migrated.reader_url, authority, host, mode),
    }
    return urls, ERRORS[request.param]


@asynccontextmanager
async def every_session_is_encrypted(tls_postgres: TlsPostgres) -> AsyncIterator[list[str]]:
    """Watches the sessions of clients while the block runs, and yields the growing list of their names."""
    administrator = await asyncpg.connect(
        with_tls(tls_postgres.postgres.url("postgres", "postgres"), tls_postgres.certificates.authority)
    )
    seen: list[str] = []
    done = asyncio.Event()

    async def watch() -> None:
        while not done.is_set():
            for row in await administrator.fetch(
                "SELECT coalesce(nullif(application_name, ''), usename) AS name, ssl FROM pg_stat_activity "
                "JOIN pg_stat_ssl USING (pid) WHERE backend_type = 'client backend' AND usename IS NOT NULL"  # authenticated
            ):
                assert row["ssl"], f"{row['name']} is not encrypted"
                if row["name"] not in seen:
                    seen.append(row["name"])
            await asyncio.sleep(0.01)

    watching = asyncio.create_task(watch())
    try:
        yield seen
    finally:
        done.set()
        try:
            await watching
        finally:
            await administrator.close()


async def test_the_sql_commands_work_over_tls(
    tls_postgres: TlsPostgres, empty: Database, environment: dict[str, str]
) -> None:
    sql = sql_command(environment, empty)
    async with every_session_is_encrypted(tls_postgres) as seen:
        for arguments in (["migrate"], ["migrate"], ["maintain", "--once"], ["assign", "-"]):
            await sql.succeed(*arguments, stdin=ASSIGNED)
    assert {"energy-maintain", "energy-sql"} <= set(seen)
    assert await empty.value("SELECT count(*) FROM vehicle_meter_assignments") == 1


async def test_readings_are_written_and_read_over_tls(
    tls_postgres: TlsPostgres,
    tls_environment: dict[str, str],
    migrated: Database,
    topics: Topics,
    processes: Processes,
    tmp_path: Path,
) -> None:
    async with AIOKafkaProducer(bootstrap_servers=tls_environment["KAFKA_BOOTSTRAP_SERVERS"], acks="all") as producer:
        for number in range(20):
            await producer.send(topics.meter, meter("METER-1", minute(number)), b"METER-1")
            await producer.send(topics.vehicle, vehicle("VEH-1", minute(number), soc=42), b"VEH-1")
    async with every_session_is_encrypted(tls_postgres) as seen:
        consumer = ConsumerGroup(processes, tls_environment, tmp_path).start()
        for topic in (topics.meter, topics.vehicle):
            await until_consumed(migrated, topic, 20, timeout=120)
        await consumer.until_ready()
        with read_service(processes, tls_environment, tmp_path) as client:
            assert (await asyncio.to_thread(client.get, "/readyz")).status_code == 200
            assert body(await asyncio.to_thread(client.get, "/v1/vehicles/VEH-1"))["soc"] == 42
    assert {"energy-consumer", "energy-api"} <= set(seen)


@pytest.fixture
def certified(tls_postgres: TlsPostgres) -> Iterator[Database]:
    """A migrated database that asks for a client certificate in place of a password; dbmate has one as well."""
    name = f"{CERTIFICATE_DATABASES}_{os.getpid()}_{next(_numbers)}"
    with new_database(tls_postgres.servers, name):
        database = Database(name, tls_postgres.with_certificates())
        asyncio.run(migrate(SqlSettings(database_url=SecretStr(database.migrator_url))))
        yield database


async def test_services_and_commands_work_with_client_certificates_that_are_renewed(
    tls_postgres: TlsPostgres,
    certified: Database,
    stack: Servers,
    topics: Topics,
    environment: dict[str, str],
    processes: Processes,
    tmp_path: Path,
) -> None:
    await sql_command(environment, certified).succeed("maintain", "--once")
    await sql_command(environment, certified).succeed("assign", "-", stdin=ASSIGNED)
    of_services = service_environment(stack, certified, topics)
    ConsumerGroup(processes, of_services, tmp_path).start()
    async with AIOKafkaProducer(bootstrap_servers=of_services["KAFKA_BOOTSTRAP_SERVERS"], acks="all") as producer:
        await producer.send_and_wait(topics.vehicle, vehicle("VEH-1", minute(1), soc=41), b"VEH-1")
        await until_consumed(certified, topics.vehicle, 1, timeout=120)
        before = await serials_of_writer(tls_postgres)
        tls_postgres.certificates.client("writer")
        await end_sessions_of_writer(tls_postgres)
        await producer.send_and_wait(topics.vehicle, vehicle("VEH-1", minute(2), soc=42), b"VEH-1")
        await until_consumed(certified, topics.vehicle, 2, timeout=120)
    after = await serials_of_writer(tls_postgres)
    assert after
    assert before
    assert not before & after
    with read_service(processes, of_services, tmp_path) as client:
        assert body(await asyncio.to_thread(client.get, "/v1/vehicles/VEH-1"))["soc"] == 42


async def serials_of_writer(tls_postgres: TlsPostgres) -> set[int]:
    """Serial numbers of the client certificates of the writer's sessions."""
    rows = await _as_superuser(
        tls_postgres,
        "SELECT client_serial, client_dn FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'writer'",
    )
    assert all("CN=writer" in (row["client_dn"] or "") for row in rows)
    return {int(row["client_serial"]) for row in rows}


async def end_sessions_of_writer(tls_postgres: TlsPostgres) -> None:
    await _as_superuser(
        tls_postgres, "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = 'writer'"
    )


async def _as_superuser(tls_postgres: TlsPostgres, statement: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(
        with_tls(tls_postgres.postgres.url("postgres", "postgres"), tls_postgres.certificates.authority)
    )
    try:
        return await connection.fetch(statement)
    finally:
        await connection.close()


async def test_a_missing_or_another_logins_certificate_is_rejected(
    certified: Database, environment: dict[str, str]
) -> None:
    url, _, _ = certified.migrator_url.partition("&sslcert=")
    anothers = certified.migrator_url.replace("client-migrator-", "client-reader-")
    for wrong, error in (
        (url, "connection requires a valid client certificate"),
        (anothers, "certificate authentication failed for user"),
    ):
        code, stdout, stderr = await Command("sql", environment | {"DATABASE_URL": wrong}).run("maintain", "--once")
        assert code == 1
        assert error in stdout + stderr


async def test_the_server_rejects_connections_without_tls(tls_postgres: TlsPostgres, migrated: Database) -> None:
    for url in (migrated.migrator_url, migrated.writer_url, migrated.reader_url):
        with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError, match="no encryption"):
            await asyncpg.connect(with_tls(url, tls_postgres.certificates.authority, mode="disable"))


@pytest.mark.parametrize("arguments", [["migrate"], ["maintain", "--once"], ["assign", "-"]], ids=lambda each: each[0])
async def test_a_command_that_cannot_connect_reports_why(
    tls_environment: dict[str, str], misconfiguration: tuple[dict[str, str], str], arguments: list[str]
) -> None:
    urls, error = misconfiguration
    code, stdout, stderr = await Command("sql", tls_environment | urls).run(*arguments, stdin=ASSIGNED)
    assert code == 1
    assert error in stdout + stderr


async def test_a_consumer_that_cannot_connect_logs_why(
    tls_environment: dict[str, str], misconfiguration: tuple[dict[str, str], str], processes: Processes, tmp_path: Path
) -> None:
    urls, error = misconfiguration
    consumer = ConsumerGroup(processes, tls_environment | urls, tmp_path).start()

    async def reported() -> bool:
        return consumer.log.exists() and error in consumer.log.read_text()

    await until(reported, f"the log has {error}")
    assert await consumer.blocked_by() != {}
    assert consumer.process.poll() is None


async def test_a_read_service_that_cannot_connect_reports_why(
    tls_environment: dict[str, str], misconfiguration: tuple[dict[str, str], str], processes: Processes, tmp_path: Path
) -> None:
    urls, error = misconfiguration
    with read_service(processes, tls_environment | urls, tmp_path) as client:
        assert client.get("/readyz").status_code == 503
        assert client.get("/v1/vehicles/VEH-1").status_code == 503

        async def reported() -> bool:
            return error in client.get("/readyz").text or error in (tmp_path / "api.log").read_text()

        await until(reported, f"{error} is reported")
