"""The simulator as a background load: 20,000 devices that send one reading a minute each."""

import asyncio
import os
import sys
from itertools import count
from typing import Final

import psutil

from deploy.stack.processes import Processes
from deploy.stack.topics import create_topics
from tests.bench.setup.backlog import PARTITIONS, VEHICLES
from tests.bench.setup.harness import Harness
from tests.support.ledger import Topics
from tests.support.repository import ROOT
from tests.support.services import ConsumerGroup

_numbers: Final = count(1)


def create_empty_topics(harness: Harness) -> Topics:
    name = f"bench-live-{os.getpid()}-{next(_numbers)}"
    topics = Topics(f"{name}-meter", f"{name}-vehicle", PARTITIONS)
    asyncio.run(
        create_topics(harness.stack.kafka_bootstrap_servers, (topics.meter, topics.vehicle), partitions=PARTITIONS)
    )
    return topics


def start_simulator(processes: Processes, environment: dict[str, str], group: ConsumerGroup) -> psutil.Popen:
    """Start the simulator at the real rate of the fleet; it runs until its processes are stopped."""
    command = [sys.executable, "-m", "deploy.simulator", "--devices", str(VEHICLES)]
    return processes.start(command, log=group.directory / "fleet.log", env=environment, cwd=ROOT)
