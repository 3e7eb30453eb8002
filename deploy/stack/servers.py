"""The addresses of a running Kafka and PostgreSQL, as a dataclass."""

from dataclasses import dataclass
from pathlib import Path

from deploy.stack.kafka import Kafka
from deploy.stack.postgres import Postgres


@dataclass(frozen=True, slots=True)
class Servers:
    """Servers that accept connections. Every address contains a password.

    `database_url` is for the owner of the schema, `writer_url` for consumers, `reader_url` for the read service. `origin`
    describes where the servers come from. `kafka` and `postgres` are None unless the stack runs them itself.
    """

    kafka_bootstrap_servers: str
    database_url: str
    writer_url: str
    reader_url: str
    origin: str
    directory: Path
    kafka: Kafka | None = None
    postgres: Postgres | None = None
