"""The wheel in an environment with the production packages alone; its commands are run from outside the checkout."""

import itertools
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from deploy.stack.processes import Processes
from deploy.stack.servers import Servers
from tests.support.database import Database, new_database
from tests.support.ledger import Topics
from tests.support.records import minute, vehicle
from tests.support.repository import ROOT
from tests.support.services import ConsumerProcess, service_environment
from tests.support.waiting import until

PACKAGES = ("api", "consumer", "schemas", "sql")
COMMANDS = ("energy-api", "energy-consumer", "energy-sql")
DATA = ("sql/migrations/*.sql", "sql/queries/*.sql", "api/page/*", "api/documents/*")
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the checkout: a build leaves files behind."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / file, source)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    run([*build, "--no-index", "--wheel-dir", str(built), str(source)], cwd=built)
    return next(built.glob("*.whl"))


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the programs of an environment with requirements.lock and the wheel, and nothing else."""
    place = tmp_path_factory.mktemp("environment")
    run([sys.executable, "-m", "venv", str(place)], cwd=place)
    python = str(place / "bin" / "python")
    run([str(ROOT / "deploy" / "install.sh"), python, str(ROOT / "requirements.lock")], cwd=place)
    run([python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)], cwd=place)
    return place / "bin"


@pytest.fixture
def empty_database(stack: Servers) -> Iterator[Database]:
    with new_database(stack, f"energy_wheel_{os.getpid()}_{next(_numbers)}") as made:
        yield made


def run(command: list[str], *, cwd: Path, environment: dict[str, str] | None = None) -> str:
    """The standard output of a command that succeeds."""
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_wheel_contains_every_module_and_all_package_data(wheel: Path) -> None:
    modules = {str(file.relative_to(ROOT)) for package in PACKAGES for file in (ROOT / package).rglob("*.py")}
    data = {str(file.relative_to(ROOT)) for pattern in DATA for file in ROOT.glob(pattern) if file.is_file()}
    assert len(data) > 50
    contents = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert contents == modules | data | {"sql/schema.sql"}


def test_the_commands_need_no_development_packages(programs: Path, tmp_path: Path) -> None:
    listed = run([str(programs / "python"), "-m", "pip", "list", "--format=freeze"], cwd=tmp_path)
    installed = {line.partition("==")[0].lower().replace("_", "-") for line in listed.splitlines()}
    lock = (ROOT / "requirements.lock").read_text().splitlines()
    locked = {line.partition("==")[0] for line in lock if line[:1].isalnum()}
    assert installed - locked <= {"energy-ingestion-engine", "pip", "setuptools"}
    for command in COMMANDS:
        help_text = run([str(programs / command), "--help"], cwd=tmp_path, environment={"PATH": os.defpath})
        assert f"Usage: {command}" in help_text


@pytest.mark.anyio
async def test_the_commands_migrate_a_database_and_store_a_reading(
    programs: Path,
    stack: Servers,
    empty_database: Database,
    topics: Topics,
    processes: Processes,
    tmp_path: Path,
) -> None:
    environment = service_environment(stack, empty_database, topics)
    environment.pop("PYTHONPATH", None)
    migrator = environment | {"DATABASE_URL": empty_database.migrator_url}
    run([str(programs / "energy-sql"), "migrate"], cwd=tmp_path, environment=migrator)
    log = tmp_path / "consumer.log"
    command = [programs / "energy-consumer"]
    consumer = ConsumerProcess(processes.start(command, log=log, env=environment, cwd=tmp_path), log)
    await consumer.until_ready()
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka_bootstrap_servers, acks="all") as producer:
        await producer.send_and_wait(topics.vehicle, vehicle(at=minute(0)))

    async def is_stored() -> bool:
        return bool(await empty_database.value("SELECT count(*) FROM vehicle_telemetry_history"))

    await until(is_stored, "the reading is stored")
    assert processes.stop(consumer.process) == 0
