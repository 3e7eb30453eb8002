"""A broker whose clients come over TLS with a name and a password, and may do what ACLs say: the smallest rights that do."""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import for_code
from aiokafka.protocol.admin import CreateAclsRequest

from deploy.stack.jars import Report, kafka_jars
from deploy.stack.kafka import Kafka, SaslListener
from deploy.stack.ports import free_port
from deploy.stack.processes import Processes
from tests.tls.certificates import Certificates, made_in

USERS: Final = ("consumer", "gateway", "nobody")
# Numbers of Kafka's protocol: resource types and operations.
TOPIC, GROUP = 2, 3
READ, WRITE, DESCRIBE = 3, 4, 8
LITERAL, ALLOW = 3, 3


@dataclass(frozen=True, slots=True)
class Guarded:
    """The running broker. `kafka.bootstrap_servers` is the listener of its administrator, without TLS."""

    kafka: Kafka
    entrance: SaslListener
    certificates: Certificates
    passwords: dict[str, str] = field(repr=False)

    def settings(self, user: str, directory: Path) -> dict[str, str]:
        """What one of our processes needs to come in as `user`; its password lies in a file."""
        file = directory / f"{user}-password"
        file.touch(mode=0o600)
        file.write_text(f"{self.passwords[user]}\n")
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.entrance.bootstrap_servers,
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "KAFKA_SASL_USERNAME": user,
            "KAFKA_SASL_PASSWORD_FILE": str(file),
            "KAFKA_SSL_CAFILE": str(self.certificates.authority),
        }


@contextmanager
def guarded_kafka(directory: Path, report: Report) -> Iterator[Guarded]:
    """For as long as the block runs; called outside of an event loop."""
    certificates = made_in(directory)
    passwords = {user: f"sasl-{user}-{secrets.token_hex(12)}" for user in USERS}
    entrance = SaslListener(free_port(), certificates.both, passwords)
    with Processes() as processes:
        kafka = Kafka(processes, directory / "kafka", kafka_jars(report), None, sasl=entrance)
        kafka.start()
        yield Guarded(kafka, entrance, certificates, passwords)


@dataclass(frozen=True, slots=True)
class Right:
    """A user may do something with one topic or group."""

    user: str
    kind: int
    name: str
    operation: int


def rights_of_consumer(topics: Sequence[str], alerts: str, group: str) -> list[Right]:
    """Read and see the topics, be a member of the group, send alerts."""
    read = [Right("consumer", TOPIC, topic, operation) for topic in topics for operation in (READ, DESCRIBE)]
    told = [Right("consumer", TOPIC, alerts, operation) for operation in (WRITE, DESCRIBE)]
    return [*read, Right("consumer", GROUP, group, READ), *told]


def rights_of_gateway(topics: Sequence[str]) -> list[Right]:
    """Send readings, and see whether their topics are there. Write includes what an idempotent producer needs."""
    return [Right("gateway", TOPIC, topic, operation) for topic in topics for operation in (WRITE, DESCRIBE)]


async def allow(guarded: Guarded, rights: Sequence[Right]) -> None:
    """Tell the broker."""
    admin = AIOKafkaAdminClient(bootstrap_servers=guarded.kafka.bootstrap_servers)
    await admin.start()
    try:
        for right in rights:
            principal = f"User:{right.user}"
            answer = await admin._send_to_controller(
                CreateAclsRequest(right.kind, right.name, LITERAL, principal, "*", right.operation, ALLOW)
            )
            for code, message in answer.creation_responses:
                if code:
                    raise for_code(code)(f"{right}: {message}")
    finally:
        await admin.close()
