"""Topics on a Kafka with TLS and ACLs, and what a service needs to connect there."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.database import Database
from tests.support.ledger import Entry, Topics, ledger, until_consumed
from tests.tls.kafka import SecuredKafka


@dataclass(frozen=True, slots=True)
class Setup:
    """Topics on the secured broker with the ACLs of our services, and the environment of a service there."""

    secured_kafka: SecuredKafka
    topics: Topics
    alerts: str
    environment: dict[str, str]
    directory: Path

    def environment_of(self, user: str) -> dict[str, str]:
        return self.environment | self.secured_kafka.settings(user, self.directory)

    def client(self, user: str) -> dict[str, Any]:
        """Arguments of an aiokafka client that connects as a user."""
        return {
            "bootstrap_servers": self.secured_kafka.entrance.bootstrap_servers,
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_plain_username": user,
            "sasl_plain_password": self.secured_kafka.passwords[user],
            "ssl_context": ssl.create_default_context(cafile=self.secured_kafka.certificates.authority),
        }


async def until_written(database: Database, topics: Topics, each: int) -> None:
    """Waits for this many readings of each type, and checks the ledger."""
    await until_consumed(database, None, 2 * each, timeout=120)
    nothing = Entry(0, 0, 0, 0)
    assert await ledger(database, topics) == {
        topics.meter: Entry(each, each, 0, 0),
        topics.vehicle: Entry(each, each, 0, 0),
        topics.assignment: nothing,
    }
