"""A Kafka broker with TLS, SASL authentication and ACLs, and the minimal ACLs of our services."""

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
from deploy.stack.kafka import Kafka, SecuredListeners
from deploy.stack.ports import free_port
from deploy.stack.processes import Processes
from tests.tls.certificates import Certificates, create_certificates
from tests.tls.tokens import TokenServer, token_server

USERS: Final = ("consumer", "gateway", "nobody")
# Codes of the Kafka protocol: resource types, operations, pattern type and permission.
TOPIC, GROUP = 2, 3
READ, WRITE, DESCRIBE = 3, 4, 8
LITERAL, ALLOW = 3, 3


@dataclass(frozen=True, slots=True)
class SecuredKafka:
    """A running broker. `kafka.bootstrap_servers` is its listener for administration, without TLS."""

    kafka: Kafka
    entrance: SecuredListeners
    certificates: Certificates
    passwords: dict[str, str] = field(repr=False)
    tokens: TokenServer

    def settings(self, user: str, directory: Path) -> dict[str, str]:
        """The settings with which a service connects as `user`; the password is in a file."""
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

    def token_settings(self, user: str, directory: Path) -> dict[str, str]:
        """The settings with which a service connects as `user` with tokens; the secret is in a file."""
        file = directory / f"{user}-secret"
        file.touch(mode=0o600)
        file.write_text(f"{self.tokens.secrets[user]}\n")
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.entrance.bootstrap_servers,
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": "OAUTHBEARER",
            "KAFKA_OAUTH_TOKEN_URL": self.tokens.url,
            "KAFKA_OAUTH_CLIENT_ID": user,
            "KAFKA_OAUTH_CLIENT_SECRET_FILE": str(file),
            "KAFKA_OAUTH_SCOPE": "kafka",
            "KAFKA_SSL_CAFILE": str(self.certificates.authority),
        }

    def certificate_settings(self, user: str) -> dict[str, str]:
        """The settings with which a service connects as `user` with a certificate."""
        certificate, key = self.certificates.client(user)
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.entrance.certificate_servers,
            "KAFKA_SECURITY_PROTOCOL": "SSL",
            "KAFKA_SSL_CAFILE": str(self.certificates.authority),
            "KAFKA_SSL_CERTFILE": str(certificate),
            "KAFKA_SSL_KEYFILE": str(key),
        }


@contextmanager
def run_secured_kafka(directory: Path, report: Report) -> Iterator[SecuredKafka]:
    """Runs the broker until the block ends. Call it outside of an event loop."""
    certificates = create_certificates(directory)
    passwords = {user: f"sasl-{user}-{secrets.token_hex(12)}" for user in USERS}
    with token_server(USERS) as tokens, Processes() as processes:
        entrance = SecuredListeners(
            free_port(),
            free_port(),
            certificates.key_and_certificate,
            certificates.authority,
            tokens.issuer,
            tokens.keys_url,
            passwords,
        )
        kafka = Kafka(processes, directory / "kafka", kafka_jars(report), None, secured=entrance)
        kafka.start()
        yield SecuredKafka(kafka, entrance, certificates, passwords, tokens)


@dataclass(frozen=True, slots=True)
class Acl:
    """A permission of a user for one operation on a topic or a group."""

    user: str
    resource_type: int
    name: str
    operation: int


def consumer_acls(topics: Sequence[str], alerts: str, group: str) -> list[Acl]:
    """Read and describe the topics, join the group, produce alerts."""
    read = [Acl("consumer", TOPIC, topic, operation) for topic in topics for operation in (READ, DESCRIBE)]
    write = [Acl("consumer", TOPIC, alerts, operation) for operation in (WRITE, DESCRIBE)]
    return [*read, Acl("consumer", GROUP, group, READ), *write]


def ingestion_acls(topics: Sequence[str]) -> list[Acl]:
    """Produce readings and describe their topics. Write includes the permission that an idempotent producer needs."""
    return [Acl("gateway", TOPIC, topic, operation) for topic in topics for operation in (WRITE, DESCRIBE)]


async def create_acls(secured: SecuredKafka, acls: Sequence[Acl]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=secured.kafka.bootstrap_servers)
    await admin.start()
    try:
        for acl in acls:
            principal = f"User:{acl.user}"
            response = await admin._send_to_controller(
                CreateAclsRequest(acl.resource_type, acl.name, LITERAL, principal, "*", acl.operation, ALLOW)
            )
            for code, message in response.creation_responses:
                if code:
                    raise for_code(code)(f"{acl}: {message}")
    finally:
        await admin.close()
