"""Namespaces for an engine: mounts, network, processes. They end with their first process, and everything in them ends with them.

An engine in the namespaces of the machine leaves firewall rules, bridges and mounts behind when it is killed.
slirp4netns connects the network namespace to the network of the machine, for downloads, without a rule or a device outside.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from deploy.containers.engine import EngineError
from deploy.stack.signals import STOP_SIGNALS

DEVICE: Final = "tap0"
NAME_SERVER: Final = "10.0.2.3"  # slirp4netns answers there with the machine's own name servers
NAMESPACES: Final = ("--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc")
PROGRAMS: Final = {
    "dockerd": "docker.io",
    "docker": "docker.io",
    "mmdebstrap": "mmdebstrap",
    "slirp4netns": "slirp4netns",
    "iptables": "iptables",
}
CGROUP: Final = "energy-containers"
CGROUPS: Final = Path("/sys/fs/cgroup")
NETWORK_TIMEOUT_SECONDS: Final = 20.0


def require() -> None:
    """Checks that an engine of our own can be started here.

    Raises:
        EngineError: something is missing; the message says how to get it.
    """
    if not Path("/proc/self/ns/net").exists():
        raise EngineError("that needs Linux")
    if os.geteuid() != 0:
        raise EngineError("that needs root")
    if not Path("/dev/net/tun").exists():
        raise EngineError("that needs the device /dev/net/tun")
    packages = sorted({package for program, package in PROGRAMS.items() if not shutil.which(program)})
    if packages:
        raise EngineError(f"apt-get install --no-install-recommends {' '.join(packages)}")


def run(command: Sequence[str], data: Path, environment: Mapping[str, str]) -> int:
    """Runs a command in namespaces of its own, and returns its exit code. A stop signal is passed on to the command.

    If this process is killed, the kernel kills the command, and with it all that runs in the namespaces.

    Raises:
        EngineError: the namespaces cannot be created.
    """
    data.mkdir(parents=True, exist_ok=True)
    dying_with_us = ["setpriv", "--pdeathsig", "KILL"]
    outer = subprocess.Popen(
        [*dying_with_us, "unshare", *NAMESPACES, *command], env=os.environ | environment, start_new_session=True
    )
    with (data / "slirp4netns.log").open("w") as log:
        try:
            first = _first_process(outer)
            network = subprocess.Popen(
                [
                    *dying_with_us,
                    "slirp4netns",
                    "--configure",
                    "--mtu=65520",
                    "--disable-host-loopback",
                    str(first),
                    DEVICE,
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            _pass_on_signals(first)
            code = outer.wait()
            network.terminate()
            network.wait()
        finally:
            outer.kill()
            outer.wait()
            _remove_cgroups()
    return code


def wait_for_network() -> None:
    """Waits inside the namespaces until the network is connected, and hides what the machine's programs keep in /run.

    Raises:
        EngineError: it is not connected in time.
    """
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    deadline = time.monotonic() + NETWORK_TIMEOUT_SECONDS
    show = ["ip", "-4", "-oneline", "address", "show", "dev", DEVICE]
    while not subprocess.run(show, capture_output=True, check=False).stdout:
        if time.monotonic() > deadline:
            raise EngineError(
                "slirp4netns has not connected the network; .stack/containers/slirp4netns.log has its errors"
            )
        time.sleep(0.05)


def cgroup_parent() -> str:
    """The cgroup of the containers. It is below our own (cgroups v1), whose processor limits hold for them too."""
    lines = (line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines())
    own = next((path for _, controllers, path in lines if "cpu" in controllers.split(",")), "/")
    return str(Path(own) / CGROUP)


def _first_process(outer: "subprocess.Popen[bytes]") -> int:
    children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
    deadline = time.monotonic() + NETWORK_TIMEOUT_SECONDS
    while outer.poll() is None and time.monotonic() < deadline:
        if found := children.read_text().split():
            return int(found[0])
        time.sleep(0.01)
    raise EngineError("unshare could not create the namespaces")


def _pass_on_signals(process: int) -> None:
    def pass_on(number: int, frame: FrameType | None) -> None:
        os.kill(process, signal.SIGTERM)

    for each in STOP_SIGNALS:
        signal.signal(each, pass_on)


def _remove_cgroups() -> None:
    """Removes the empty cgroups that the engine leaves, deepest first."""
    for top in CGROUPS.glob(f"**/{CGROUP}"):
        for directory in sorted([top, *(each for each in top.rglob("*") if each.is_dir())], reverse=True):
            directory.rmdir()
