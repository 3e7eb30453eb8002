"""Which servers does this run on? External ones when settings name them, containers when asked for, else from packages.

with servers(ROOT / "demo", kafka_port=19092, postgres_port=15432, say=print) as stack:
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
    """The stack cannot be started as asked."""


@contextmanager
def servers(
    directory: Path,
    *,
    say: Callable[[str], None],
    kafka_port: int | None = None,
    postgres_port: int | None = None,
    fresh: bool = False,
    postgres_settings: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Servers]:
    """A Kafka and a PostgreSQL for as long as the block runs; called outside of an event loop.

    Args:
        directory: for the data of servers that we run; logs lie there too.
        say: is told what takes time.
        kafka_port: of a broker that we run; any free one by default.
        postgres_port: likewise.
        fresh: remove what an earlier run has left in `directory`, before and after.
        postgres_settings: of a PostgreSQL that we run, beyond those that it always has.

    Raises:
        StackError: when another run uses the directory.
    """
    with ExitStack() as stack:
        stack.enter_context(_only_one(directory))
        if fresh:
            clear(directory)
            stack.callback(clear, directory)
        if os.environ.get("LOCAL_STACK") == "containers":
            from deploy.stack.containers import containers  # noqa: PLC0415 - needs an engine, and is seldom asked for

            yield stack.enter_context(containers(directory, say))
            return
        processes = stack.enter_context(Processes())
        bootstrap, database = os.environ.get("KAFKA_BOOTSTRAP_SERVERS"), os.environ.get("DATABASE_URL")
        yield _started(
            directory,
            say,
            None if bootstrap else Kafka(processes, directory / "kafka", kafka_jars(say), kafka_port),
            None if database else Postgres(processes, directory / "postgres", postgres_port, postgres_settings),
        )


def _started(directory: Path, say: Callable[[str], None], kafka: Kafka | None, postgres: Postgres | None) -> Servers:
    bootstrap, database = os.environ.get("KAFKA_BOOTSTRAP_SERVERS"), os.environ.get("DATABASE_URL")
    if postgres:
        say("starting PostgreSQL 18")
        postgres.start()
    if kafka:
        say("starting Kafka 4.3")
        kafka.start()
    named = database or ""
    resolved = Servers(
        kafka_bootstrap_servers=kafka.bootstrap_servers if kafka else str(bootstrap),
        database_url=postgres.url("migrator") if postgres else named,
        writer_url=postgres.url("writer") if postgres else os.environ.get("DATABASE_WRITE_URL", named),
        reader_url=postgres.url("reader") if postgres else os.environ.get("DATABASE_READ_URL", named),
        origin=f"Kafka {'from packages' if kafka else 'of KAFKA_BOOTSTRAP_SERVERS'}, "
        f"PostgreSQL {'from packages' if postgres else 'of DATABASE_URL'}",
        directory=directory,
        kafka=kafka,
        postgres=postgres,
    )
    say(f"running on {resolved.origin}")
    return resolved


@contextmanager
def _only_one(directory: Path) -> Iterator[None]:
    directory.parent.mkdir(parents=True, exist_ok=True)
    with directory.with_name(f"{directory.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(f"another run uses {directory}; stop it first") from None
        yield


def clear(directory: Path) -> None:
    """Remove the data of servers that no longer run, and what had to lie outside of the project."""
    for link in directory.glob("*-outside"):
        shutil.rmtree(link.resolve(), ignore_errors=True)
    shutil.rmtree(directory, ignore_errors=True)
