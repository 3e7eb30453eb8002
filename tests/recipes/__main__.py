"""The command `python -m tests.recipes NAME`: the shell commands of docs/recipes/NAME.md, in order, while readings flow.

PostgreSQL and Kafka -> migrate -> a consumer and readings -> the commands of the page -> every reading is stored once
"""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import asyncpg
import typer

from deploy.stack.jars import kafka_jars
from deploy.stack.kafka import Kafka
from deploy.stack.ports import free_port
from deploy.stack.postgres import ACCOUNT, BINARIES, SETTINGS, Postgres
from deploy.stack.processes import Processes, end_of
from deploy.stack.servers import Servers
from deploy.stack.topics import create_topics
from tests.recipes.cells import move_recipe
from tests.recipes.readings import flowing_readings
from tests.support.command import sql_command
from tests.support.database import Database
from tests.support.ledger import Topics, ledger, until_consumed
from tests.support.repository import ROOT
from tests.support.repository.documents import Fence, fences
from tests.support.services import ConsumerGroup, service_environment
from tests.support.waiting import until

TOPICS: Final = Topics("meter-readings", "vehicle-readings", 4)
DEBIAN: Final = Path("/usr/lib/postgresql/15/bin")
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")  # the broker lives briefly
FENCE_TIMEOUT_SECONDS: Final = 600
FLOWING: Final = 200  # readings that are stored before the first command, and sent after the last

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


class RecipeError(Exception):
    """A command of the page failed; the message has its exit code and the ends of the logs."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a page begins with."""

    binaries: Path
    settings: Mapping[str, str]
    commit: str | None = None  # of the engine that the page begins with; None: this one


def _recipes(directory: Path) -> dict[str, Recipe]:
    archive = {"archive_mode": "on", "archive_command": f"test ! -f {directory}/wal/%f && cp %p {directory}/wal/%f"}
    return {
        "upgrade-postgresql": Recipe(DEBIAN, {"unix_socket_directories": str(directory)}),
        "restore": Recipe(BINARIES, archive),
        "upgrade-engine": Recipe(BINARIES, {}, "c01aed5"),
        "standby": Recipe(BINARIES, {"wal_log_hints": "on"}),
        "move": Recipe(BINARIES, {}),
        "patroni": Recipe(DEBIAN, {"wal_log_hints": "on", "unix_socket_directories": str(directory)}),
    }


@app.command()
def main(
    name: Annotated[str, typer.Argument(help="standby, patroni, restore, upgrade-postgresql, upgrade-engine or move")],
) -> None:
    """Execute the commands of docs/recipes/NAME.md while readings flow, and check that each reading is stored once."""
    with (
        tempfile.TemporaryDirectory(prefix="energy-recipe-", ignore_cleanup_errors=True) as made,
        Processes() as processes,
    ):
        directory = Path(made)
        if (recipe := _recipes(directory).get(name)) is None:
            raise typer.BadParameter(f"there is no recipe {name}")
        for each in (directory, directory / "wal"):
            each.mkdir(exist_ok=True)
            each.chmod(0o777)
        postgres = Postgres(
            processes, directory / "old", None, {**recipe.settings, "shared_buffers": "64MB"}, recipe.binaries
        )
        kafka = Kafka(processes, directory / "kafka", kafka_jars(_report), None)
        postgres.start()
        kafka.start()
        servers = _servers(postgres, kafka, directory)
        try:
            if name == "move":
                _run_move(directory, processes, servers)
            else:
                asyncio.run(_run(name, recipe, directory, processes, servers))
        except RecipeError as error:
            sys.exit(str(error))
        finally:
            _stop_servers(directory)


def _run_move(directory: Path, processes: Processes, servers: Servers) -> None:
    python = f"{Path(sys.executable).parent}:{BINARIES}:{os.environ['PATH']}"

    async def execute(environment: dict[str, str]) -> None:
        shell = environment | {"HOME": str(directory), "PATH": python, "PYTHONPATH": str(ROOT)}
        for fence in _commands("move"):
            await asyncio.to_thread(_execute, fence, shell, engine=True)

    _report(f"move: {asyncio.run(move_recipe(servers, processes, directory, execute))}")


def _commands(name: str) -> Iterator[Fence]:
    """The fences of a page that the recipe executes."""
    for fence in fences(f"docs/recipes/{name}.md"):
        if fence.language == "sh" and fence.reason and "tests.recipes" in fence.reason:
            yield fence


def _stop_servers(directory: Path) -> None:
    """Ends the servers that the commands have started."""
    pids = dict.fromkeys(directory.glob("*.pid"), signal.SIGKILL)  # Patroni's first: it restarts its server
    pids |= dict.fromkeys(directory.rglob("postmaster.pid"), signal.SIGQUIT)  # an immediate shutdown
    for file, number in pids.items():
        with suppress(ProcessLookupError):
            os.kill(int(file.read_text().split()[0]), number)


def _report(text: str) -> None:
    typer.echo(text, err=True)


def _servers(postgres: Postgres, kafka: Kafka, directory: Path) -> Servers:
    return Servers(
        kafka.bootstrap_servers,
        postgres.url("migrator"),
        postgres.url("writer"),
        postgres.url("reader"),
        origin="recipe",
        directory=directory,
        kafka=kafka,
        postgres=postgres,
    )


async def _run(name: str, recipe: Recipe, directory: Path, processes: Processes, servers: Servers) -> None:
    second_port = free_port()
    database = Database("energy", servers)
    environment = service_environment(servers, database, TOPICS)
    await create_topics(servers.kafka_bootstrap_servers, (TOPICS.meter, TOPICS.vehicle), partitions=TOPICS.partitions)
    await _keep_settings(servers, recipe)
    if recipe.commit:
        old = await asyncio.to_thread(_start_engine, recipe.commit, directory, processes, environment, database)
    else:
        await sql_command(environment, database).succeed("migrate")
        url = urlsplit(servers.writer_url)
        both = f"{url.netloc},{url.hostname}:{second_port}"
        writer = url._replace(netloc=both, query="target_session_attrs=primary").geturl()
        old = ConsumerGroup(processes, environment | {"DATABASE_URL": writer}, directory).start().process.pid
    shell = _shell(directory, servers, second_port) | {"CONSUMER": str(old)}
    if name == "patroni":
        shell |= _start_etcd(processes, directory) | {"BIN": str(DEBIAN), "PATH": f"{DEBIAN}:{os.environ['PATH']}"}
    if recipe.commit:
        shell = (
            environment
            | shell
            | {"OWNER_URL": servers.database_url, "PATH": f"{Path(sys.executable).parent}:{shell['PATH']}"}
        )
    async with flowing_readings(servers, TOPICS.vehicle) as readings:
        await until_consumed(database, TOPICS.vehicle, FLOWING)
        for fence in _commands(name):
            await asyncio.to_thread(_execute, fence, shell, engine=bool(recipe.commit))
        target = readings.sent + FLOWING
        await until(readings.reached(target), f"{target} readings are sent", timeout=120)
    after = Database("energy", _on_port(servers, second_port) if name == "standby" else servers)
    await until_consumed(after, TOPICS.vehicle, readings.sent, timeout=180)
    entry = (await ledger(after, TOPICS))[TOPICS.vehicle]
    stored = await after.value("SELECT count(*) FROM vehicle_telemetry_history")
    assert (entry.written, stored) == (readings.sent, readings.sent), f"{readings.sent} sent, {stored} stored, {entry}"
    _report(f"{name}: {readings.sent} readings sent, {stored} stored, each once; {entry.duplicates} duplicates")


def _start_engine(
    commit: str, directory: Path, processes: Processes, environment: dict[str, str], database: Database
) -> int:
    """Migrates with the code of a commit and starts its consumer; returns the process id."""
    code = directory / "engine"
    code.mkdir()
    subprocess.run(f"git archive {commit} | tar -x -C {code}", shell=True, check=True, cwd=ROOT)
    migrate = [sys.executable, "-m", "sql", "migrate"]
    subprocess.run(migrate, check=True, cwd=code, env=environment | {"DATABASE_URL": database.migrator_url})
    consumer = [sys.executable, "-m", "consumer"]
    return processes.start(consumer, env=environment, cwd=code, log=directory / "old-consumer.log").pid


def _start_etcd(processes: Processes, directory: Path) -> dict[str, str]:
    """Starts etcd, for Patroni; returns the addresses of the page."""
    etcd, peer, first, second = (f"127.0.0.1:{free_port()}" for _ in range(4))
    urls = {
        "listen-client-urls": etcd,
        "advertise-client-urls": etcd,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
    }
    options = [f"--{option}=http://{address}" for option, address in urls.items()]
    command = ["etcd", f"--data-dir={directory / 'etcd'}", f"--initial-cluster=default=http://{peer}", *options]
    processes.start(command, log=directory / "etcd.log")
    return {"ETCD": etcd, "FIRST_API": first, "SECOND_API": second}


async def _keep_settings(servers: Servers, recipe: Recipe) -> None:
    """Writes settings into the data directory, because the commands start servers without those of the stack's command line."""
    assert servers.postgres is not None
    connection = await asyncpg.connect(servers.postgres.url("postgres", "energy"))
    for name, value in {"max_connections": SETTINGS["max_connections"], **recipe.settings}.items():
        await connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
    await connection.close()


def _shell(directory: Path, servers: Servers, second_port: int) -> dict[str, str]:
    """The variables of a page's commands."""
    assert servers.postgres is not None
    url = urlsplit(servers.postgres.url("postgres", "energy"))
    return {
        "PATH": f"{BINARIES}:{os.environ['PATH']}",
        "HOME": str(directory),
        "PGHOST": str(url.hostname), "PGPORT": str(url.port), "PGUSER": "postgres", "PGPASSWORD": str(url.password),
        "PGDATABASE": "energy",
        "OLD_BIN": str(DEBIAN), "NEW_BIN": str(BINARIES),
        "OLD": str(directory / "old" / "data"), "NEW": str(directory / "new"),
        "WAL": str(directory / "wal"), "SECOND_PORT": str(second_port),
    }  # fmt: skip


def _execute(fence: Fence, environment: Mapping[str, str], *, engine: bool) -> None:
    """As the account of PostgreSQL, or of this process where the commands are those of the engine."""
    account = ACCOUNT if os.geteuid() == 0 and not engine else None
    _report(f"{fence}:\n{fence.text}")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", fence.text],
        check=False,
        env=dict(environment),
        cwd=ROOT if engine else environment["HOME"],
        user=account,
        group=account,
        extra_groups=[] if account else None,
        stdout=sys.stderr,
        timeout=FENCE_TIMEOUT_SECONDS,
    )
    if done.returncode:
        logs = "".join(f"{file}:\n{end_of(file)}" for file in Path(environment["HOME"]).glob("*.log"))
        raise RecipeError(f"{fence} ended with exit code {done.returncode}\n{logs}")


def _on_port(servers: Servers, port: int) -> Servers:
    """The servers with another PostgreSQL of the same passwords."""
    urls = [
        urlsplit(url)._replace(netloc=f"{urlsplit(url).netloc.rpartition(':')[0]}:{port}").geturl()
        for url in (servers.database_url, servers.writer_url, servers.reader_url)
    ]
    return replace(servers, database_url=urls[0], writer_url=urls[1], reader_url=urls[2])


if __name__ == "__main__":
    app()
