"""Fixtures of every test: one Kafka and PostgreSQL per run; per test a database from a migrated template, topics, processes."""

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr

from deploy.stack.postgres import server_binaries, version_of
from deploy.stack.processes import Processes
from deploy.stack.resolve import ROOT, StackError, servers
from deploy.stack.servers import Servers
from deploy.stack.topics import create_topics
from sql.migrate import migrate
from sql.settings import SqlSettings
from tests.support.database import Database, new_database, use_months
from tests.support.ledger import Topics
from tests.support.services import ConsumerGroup, service_environment

PARTITIONS = 4
# Brokers start often and live briefly: the optimizing compiler costs them more processor time than it saves.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")
_numbers = itertools.count(1)


def pytest_configure() -> None:
    """Ctrl-C must end the commands of tests also in a run in the background, for which shells ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    """The version that is tested, of those that are supported."""
    return f"PostgreSQL {version_of(server_binaries())}; make test POSTGRES=15 runs on Debian's 15"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what the PostgreSQL of POSTGRES_BINARIES is too old for."""
    if not os.environ.get("POSTGRES_BINARIES"):
        return
    version = version_of(server_binaries())
    too_new = [item for item in items if (mark := item.get_closest_marker("postgres")) and mark.args[0] > version]
    items[:] = [item for item in items if item not in too_new]
    config.hook.pytest_deselected(items=too_new)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def stack(pytestconfig: pytest.Config) -> Iterator[Servers]:
    """Kafka and PostgreSQL of this run. Parallel runs get servers of their own."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def report(text: str) -> None:
        with capture.global_and_fixture_disabled():
            sys.stderr.write(f"\nstack: {text}\n")

    with ExitStack() as exits:
        for number in itertools.count(1):
            try:
                yield exits.enter_context(servers(ROOT / f"tests-{number}", report=report, fresh=True))
            except StackError:
                continue
            return


@pytest.fixture(scope="session")
def template(stack: Servers) -> Iterator[Database]:
    """A migrated database that the databases of the tests are copied from.

    It has partitions of a month for rows of the whole retention, and folding has not begun: most tests look at rows of any age.
    """
    with new_database(stack, f"energy_template_{os.getpid()}") as created:
        asyncio.run(_migrate(created))
        yield created


async def _migrate(database: Database) -> None:
    settings = SqlSettings(database_url=SecretStr(database.migrator_url))
    await migrate(settings)
    connection = await asyncpg.connect(database.migrator_url)
    await use_months(connection, datetime.now(UTC) - timedelta(days=settings.retention_days + 1))
    await connection.close()


@pytest.fixture
def database(stack: Servers, template: Database) -> Iterator[Database]:
    with new_database(stack, f"energy_test_{os.getpid()}_{next(_numbers)}", template) as created:
        yield created


@pytest.fixture
def new_topics() -> Topics:
    """Topics that do not exist yet."""
    number = f"{os.getpid()}-{next(_numbers)}"
    names = (f"meter-readings-{number}", f"vehicle-readings-{number}")
    return Topics(*names, PARTITIONS, f"assignments-{number}", f"register-readings-{number}")


@pytest.fixture
def topics(stack: Servers, new_topics: Topics) -> Topics:
    """The same topics, of which those for meter and vehicle readings exist."""
    names = (new_topics.meter, new_topics.vehicle)
    asyncio.run(create_topics(stack.kafka_bootstrap_servers, names, partitions=PARTITIONS))
    return new_topics


@pytest.fixture
def processes() -> Iterator[Processes]:
    with Processes() as running:
        yield running


@pytest.fixture
def environment(stack: Servers, database: Database, new_topics: Topics) -> dict[str, str]:
    """The environment of a service on the servers, database and topics of this test."""
    return service_environment(stack, database, new_topics) | {
        "KAFKA_SESSION_TIMEOUT_MS": "6000",
        "LOG_LEVEL": "DEBUG",
        "PYTHONFAULTHANDLER": "1",
    }


@pytest.fixture
def group(processes: Processes, environment: dict[str, str], tmp_path: Path) -> ConsumerGroup:
    """A consumer group, without a consumer yet."""
    return ConsumerGroup(processes, environment, tmp_path)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """In CI, a skipped test fails the run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter and reporter.stats.get("skipped") and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
