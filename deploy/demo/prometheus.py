"""Prometheus for the demo, where it is installed: the project's own rules, on the demo's targets."""

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
from deploy.stack.readiness import until_it_answers

Say = Callable[[str], None]
PORT: Final = 9090
CONFIGURATION: Final = Path(__file__).parents[1] / "prometheus"
MISSING: Final = "no graphs: there is no prometheus on the PATH (Debian: apt-get install prometheus)"
EXPRESSIONS: Final = (
    "sum(rate(energy_records_consumed_total[1m]))",
    "max(energy_consumer_lag_seconds)",
    "histogram_quantile(0.99, sum by (le) (rate(energy_freshness_seconds_bucket[1m])))",
    "energy_faults_open",
)


@dataclass(frozen=True, slots=True)
class Pages:
    """Where a person looks."""

    graphs: str
    alerts: str


def start_prometheus(
    processes: Processes, directory: Path, targets: Mapping[str, Sequence[str]], say: Say
) -> Pages | None:
    """Start it with its configuration, data and log in `directory`, and wait until it answers.

    Args:
        processes: it is stopped with them.
        directory: what an earlier run has left there is kept: its graphs go on.
        targets: whom to ask (host:port), by consumer, maintain and api.
        say: is told what is not as usual.

    Returns:
        None when there is none on the PATH.
    """
    program = shutil.which("prometheus")
    if program is None:
        say(MISSING)
        return None
    shutil.copytree(CONFIGURATION, directory, dirs_exist_ok=True)
    for job, addresses in targets.items():
        (directory / "targets" / f"{job}.yml").write_text(json.dumps([{"targets": list(addresses)}]))
    address, log = f"127.0.0.1:{_port(say)}", directory / "prometheus.log"
    command = [
        program,
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address={address}",
    ]
    process = processes.start(command, log=log)
    pages = _Asked(f"http://{address}")
    until_it_answers("Prometheus", process, log, pages.answers)
    return pages.found


class _Asked:
    """A server that may not answer yet."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.found: Pages | None = None

    async def answers(self) -> None:
        """Look where its pages are: Debian's has them below /classic."""
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


def _port(say: Say) -> int:
    try:
        ensure_free(PORT, "Prometheus", "nothing")
    except PortTakenError:
        say(f"port {PORT} is taken, perhaps by another Prometheus: ours takes another one")
        return free_port()
    return PORT
