"""One stack per run, a database from a migrated template and topics of its own per test."""

import asyncio
import itertools
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from pydantic import SecretStr

from deploy.stack.processes import Processes
from deploy.stack.resolve import ROOT, Servers, StackError, servers
from deploy.stack.topics import create_topics
from sql.migrate import migrate
from sql.settings import SqlSettings
from tests.servers import Database, Topics
from tests.services import Group

PARTITIONS = 4
TEMPLATE = f"energy_template_{os.getpid()}"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def stack(pytestconfig: pytest.Config) -> Iterator[Servers]:
    """Kafka and PostgreSQL for this run; several runs at once get servers of their own."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def say(text: str) -> None:
        with capture.global_and_fixture_disabled():
            sys.stderr.write(f"\nstack: {text}\n")

    with ExitStack() as exits:
        for number in itertools.count(1):
            try:
                yield exits.enter_context(servers(ROOT / f"tests-{number}", say=say, fresh=True))
            except StackError:
                continue
            return


@pytest.fixture(scope="session")
def template(stack: Servers) -> Iterator[str]:
    """The name of a migrated database to copy."""
    asyncio.run(_administer(stack, f"CREATE DATABASE {TEMPLATE}"))
    url = urlunsplit(urlsplit(stack.database_url)._replace(path=f"/{TEMPLATE}"))
    asyncio.run(migrate(SqlSettings(database_url=SecretStr(url))))
    yield TEMPLATE
    asyncio.run(_administer(stack, f"DROP DATABASE {TEMPLATE} WITH (FORCE)"))


@pytest.fixture
def database(stack: Servers, template: str) -> Iterator[Database]:
    name = f"energy_test_{os.getpid()}_{next(_numbers)}"
    asyncio.run(_administer(stack, f"CREATE DATABASE {name} TEMPLATE {template}"))
    yield Database(name, stack)
    asyncio.run(_administer(stack, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def new_topics() -> Topics:
    """Names of topics that do not exist yet."""
    number = f"{os.getpid()}-{next(_numbers)}"
    return Topics(f"meter-readings-{number}", f"vehicle-readings-{number}", PARTITIONS)


@pytest.fixture
def topics(stack: Servers, new_topics: Topics) -> Topics:
    names = (new_topics.meter, new_topics.vehicle)
    asyncio.run(create_topics(stack.kafka_bootstrap_servers, names, partitions=PARTITIONS))
    return new_topics


@pytest.fixture
def processes() -> Iterator[Processes]:
    with Processes() as running:
        yield running


@pytest.fixture
def environment(stack: Servers, database: Database, new_topics: Topics, tmp_path: Path) -> dict[str, str]:
    """What our processes are started with."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("KAFKA_", "DATABASE_"))},
        "KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap_servers,
        "KAFKA_METER_TOPIC": new_topics.meter,
        "KAFKA_VEHICLE_TOPIC": new_topics.vehicle,
        "KAFKA_GROUP_ID": f"group-{new_topics.meter}",
        "KAFKA_SESSION_TIMEOUT_MS": "6000",
        "DATABASE_URL": database.writer_url,
        "DATABASE_READ_URL": database.reader_url,
        "METRICS_PORT": "0",
        "LOG_FORMAT": "json",
        "LOG_LEVEL": "DEBUG",
        "PYTHONFAULTHANDLER": "1",
    }


@pytest.fixture
def group(processes: Processes, environment: dict[str, str], tmp_path: Path) -> Group:
    """Replicas of the consumer, as many as a test starts."""
    return Group(processes, environment, tmp_path)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """In CI nothing may be left out: a skipped test fails the run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter and reporter.stats.get("skipped") and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


async def _administer(stack: Servers, statement: str) -> None:
    connection = await asyncpg.connect(stack.database_url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
