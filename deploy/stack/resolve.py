"""The choice of servers for a run: external ones if settings name them, containers on request, otherwise from packages.

with servers(ROOT / "demo", kafka_port=19092, postgres_port=15432, report=print) as stack:
    stack.kafka_bootstrap_servers, stack.writer_url
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Final

from deploy.stack.jars import kafka_jars
from deploy.stack.kafka import Kafka
from deploy.stack.postgres import Postgres
from deploy.stack.processes import Processes
from deploy.stack.servers import Servers

ROOT: Final = Path(__file__).parents[2] / ".stack"


class StackError(Exception):
    """The stack cannot be started with these settings."""


@contextmanager
def servers(
    directory: Path,
    *,
    report: Callable[[str], None],
    kafka_port: int | None = None,
    postgres_port: int | None = None,
    fresh: bool = False,
    postgres_settings: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Servers]:
    """A Kafka and a PostgreSQL while the block runs. Called outside of an event loop.

    Args:
        directory: data and logs of the servers that are started here.
        report: receives a line of progress for every step that takes time.
        kafka_port: port of a broker that is started here; None chooses a free one.
        postgres_port: likewise.
        fresh: remove the contents of `directory` before and after the run.
        postgres_settings: settings of a PostgreSQL that is started here, in addition to the usual ones.

    Raises:
        StackError: another run uses the directory.
    """
    with ExitStack() as stack:
        stack.enter_context(_exclusive(directory))
        if fresh:
            clear(directory)
            stack.callback(clear, directory)
        if os.environ.get("LOCAL_STACK") == "containers":
            from deploy.stack.containers import containers  # noqa: PLC0415 - needs a container engine, and is rarely used

            yield stack.enter_context(containers(directory, report))
            return
        processes = stack.enter_context(Processes())
        bootstrap, database = os.environ.get("KAFKA_BOOTSTRAP_SERVERS"), os.environ.get("DATABASE_URL")
        yield _started(
            directory,
            report,
            None if bootstrap else Kafka(processes, directory / "kafka", kafka_jars(report), kafka_port),
            None if database else Postgres(processes, directory / "postgres", postgres_port, postgres_settings),
        )


def _started(directory: Path, report: Callable[[str], None], kafka: Kafka | None, postgres: Postgres | None) -> Servers:
    bootstrap, database = os.environ.get("KAFKA_BOOTSTRAP_SERVERS"), os.environ.get("DATABASE_URL")
    if postgres:
        report(f"starting PostgreSQL {postgres.version}")
        postgres.start()
    if kafka:
        report("starting Kafka 4.3")
        kafka.start()
    external = database or ""
    resolved = Servers(
        kafka_bootstrap_servers=kafka.bootstrap_servers if kafka else str(bootstrap),
        database_url=postgres.url("migrator") if postgres else external,
        writer_url=postgres.url("writer") if postgres else os.environ.get("DATABASE_WRITE_URL", external),
        reader_url=postgres.url("reader") if postgres else os.environ.get("DATABASE_READ_URL", external),
        origin=f"Kafka {'from packages' if kafka else 'named by KAFKA_BOOTSTRAP_SERVERS'}, "
        f"PostgreSQL {'from packages' if postgres else 'named by DATABASE_URL'}",
        directory=directory,
        kafka=kafka,
        postgres=postgres,
    )
    report(f"running on {resolved.origin}")
    return resolved


@contextmanager
def _exclusive(directory: Path) -> Iterator[None]:
    directory.parent.mkdir(parents=True, exist_ok=True)
    with directory.with_name(f"{directory.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(f"another run uses {directory}; stop it first") from None
        yield


def clear(directory: Path) -> None:
    """Removes the data of stopped servers, also those parts that had to be placed outside of the project."""
    for link in directory.glob("*-outside"):
        shutil.rmtree(link.resolve(), ignore_errors=True)
    shutil.rmtree(directory, ignore_errors=True)
