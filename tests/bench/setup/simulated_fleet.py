"""The simulator as a background load: devices that send one reading a minute each."""

import sys

import psutil

from deploy.stack.processes import Processes
from tests.bench.setup.backlog import VEHICLES
from tests.support.repository import ROOT
from tests.support.services import ConsumerGroup


def start_simulator(
    processes: Processes, environment: dict[str, str], group: ConsumerGroup, vehicles: int = VEHICLES
) -> psutil.Popen:
    """Start the simulator of so many vehicles and meters at their real rate; it runs until its processes are stopped."""
    command = [sys.executable, "-m", "deploy.simulator", "--devices", str(vehicles)]
    return processes.start(command, log=group.directory / "fleet.log", env=environment, cwd=ROOT)
