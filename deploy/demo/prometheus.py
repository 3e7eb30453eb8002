"""A Prometheus with the project's rules that scrapes the demo, if Prometheus is installed."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import httpx

from deploy.stack.ports import PortTakenError, ensure_free, free_port
from deploy.stack.processes import Processes
from deploy.stack.readiness import wait_until_ready

Report = Callable[[str], None]
PORT: Final = 9090
CONFIGURATION: Final = Path(__file__).parents[1] / "prometheus"
MISSING: Final = "no graphs: prometheus is not on the PATH (Debian: apt-get install prometheus)"
EXPRESSIONS: Final = (
    "sum(rate(energy_records_consumed_total[1m]))",
    "max(energy_consumer_lag_seconds)",
    "histogram_quantile(0.99, sum by (le) (rate(energy_freshness_seconds_bucket[1m])))",
    "energy_faults_open",
)


@dataclass(frozen=True, slots=True)
class Pages:
    """Addresses of Prometheus's own pages."""

    graphs: str
    alerts: str


def start_prometheus(
    processes: Processes, directory: Path, targets: Mapping[str, Sequence[str]], report: Report
) -> Pages | None:
    """Starts Prometheus with configuration, data and log in `directory`, and waits until it is ready.

    Args:
        processes: stop Prometheus when they are closed.
        directory: data of an earlier run is kept, so its graphs continue.
        targets: addresses (host:port) to scrape, by job: consumer, maintain, api.
        report: receives a line when Prometheus is missing or its usual port is taken.

    Returns:
        None if Prometheus is not on the PATH.
    """
    program = shutil.which("prometheus")
    if program is None:
        report(MISSING)
        return None
    shutil.copytree(CONFIGURATION, directory, dirs_exist_ok=True)
    for job, addresses in targets.items():
        (directory / "targets" / f"{job}.yml").write_text(json.dumps([{"targets": list(addresses)}]))
    address, log = f"127.0.0.1:{_port(report)}", directory / "prometheus.log"
    command = [
        program,
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address={address}",
    ]
    process = processes.start(command, log=log)
    pages = _PageFinder(f"http://{address}")
    wait_until_ready("Prometheus", process, log, pages.find)
    return pages.found


class _PageFinder:
    """Finds the pages of a server that may not be ready yet."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.found: Pages | None = None

    async def find(self) -> None:
        """Sets `found`. Debian's package serves these pages below /classic. Raises if the server is not ready."""
        async with httpx.AsyncClient(base_url=self._address) as client:
            (await client.get("/-/ready")).raise_for_status()
            below = "/classic" if (await client.get("/classic/graph")).is_success else ""
        self.found = Pages(f"{self._address}{below}/graph?{_graphs()}", f"{self._address}{below}/alerts")


def _graphs() -> str:
    return urlencode({
        f"g{number}.{name}": value
        for number, expression in enumerate(EXPRESSIONS)
        for name, value in (("expr", expression), ("tab", "0"), ("range_input", "15m"))
    })  # fmt: skip


def _port(report: Report) -> int:
    try:
        ensure_free(PORT, "Prometheus", "nothing")
    except PortTakenError:
        report(f"port {PORT} is taken, perhaps by another Prometheus; the demo uses another port")
        return free_port()
    return PORT
