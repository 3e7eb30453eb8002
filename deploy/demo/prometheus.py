"""Prometheus for the demo, where it is installed: on the project's own configuration, whose targets are the demo's."""

import shutil
from pathlib import Path
from typing import Final

from deploy.stack.ports import PortTakenError, ensure_free
from deploy.stack.processes import Processes

PORT: Final = 9090
CONFIGURATION: Final = Path(__file__).parents[1] / "prometheus" / "prometheus.yml"


def start_prometheus(processes: Processes, directory: Path) -> str | None:
    """Start it with its data in `directory`; where it answers. None: there is none on the PATH, or its port is taken."""
    program = shutil.which("prometheus")
    if program is None or not _is_free(PORT):
        return None
    directory.mkdir(parents=True, exist_ok=True)
    command = [
        program,
        f"--config.file={CONFIGURATION}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{PORT}",
    ]
    processes.start(command, log=directory / "prometheus.log")
    return f"http://localhost:{PORT}/alerts"


def _is_free(port: int) -> bool:
    try:
        ensure_free(port, "Prometheus", "nothing")
    except PortTakenError:
        return False
    return True
