"""A real Prometheus on the project's own configuration: the same files, with shorter times and the targets of a test."""

import json
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from deploy.stack.ports import free_port
from deploy.stack.processes import Processes, end_of
from tests.support.services import ROOT
from tests.support.waiting import until

PROMETHEUS = shutil.which("prometheus")
PROMTOOL = shutil.which("promtool")
MISSING = (
    "alerts and dashboards were not tried: there is no prometheus on the PATH; apt-get install prometheus brings it"
)
DIRECTORY = ROOT / "deploy" / "prometheus"


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running server; `directory` holds its configuration."""

    address: str
    directory: Path

    def watch(self, job: str, targets: Iterable[str]) -> None:
        """Ask these (host:port) from now on; `job` is consumer, maintain or api."""
        file = self.directory / "targets" / f"{job}.yml"
        new = file.with_suffix(".new")
        new.write_text(json.dumps([{"targets": list(targets)}]))
        new.replace(file)

    async def ask(self, query: str) -> list[dict[str, Any]]:
        """The samples of an instant query."""
        async with httpx.AsyncClient(base_url=self.address, timeout=20) as client:
            answer = (await client.get("/api/v1/query", params={"query": query})).json()
        assert answer["status"] == "success", f"{query}: {answer}"
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    async def label_values(self, metric: str, label: str) -> list[str]:
        """What a variable of a dashboard offers: the values of a label, as far as the metric has them."""
        async with httpx.AsyncClient(base_url=self.address, timeout=20) as client:
            answer = (await client.get(f"/api/v1/label/{label}/values", params={"match[]": metric})).json()
        assert answer["status"] == "success", f"{metric}, {label}: {answer}"
        found: list[str] = answer["data"]
        return found

    async def until(self, query: str, *, timeout: float = 120) -> list[dict[str, Any]]:
        """The samples of a query, once there are any."""
        return await until(lambda: self.ask(query), f"{query} finds something", timeout=timeout, every=0.5)

    async def alert(self, name: str) -> dict[str, Any] | None:
        """A pending or firing alert as it would be sent, annotations filled in."""
        async with httpx.AsyncClient(base_url=self.address, timeout=20) as client:
            alerts = (await client.get("/api/v1/alerts")).json()["data"]["alerts"]
        return next((each for each in alerts if each["labels"]["alertname"] == name), None)

    async def until_alert(self, name: str, state: str | None, *, timeout: float = 120) -> dict[str, Any]:
        """The alert, once it is in this state: pending, firing; None: neither."""

        async def as_expected() -> dict[str, Any] | None:
            found = await self.alert(name)
            if state is None:
                return {"state": None} if found is None else None
            return found if found and found["state"] == state else None

        found = await until(as_expected, f"{name} is {state}", timeout=timeout, every=0.2)
        assert found
        return found


async def start_prometheus(processes: Processes, directory: Path) -> Prometheus:
    """Copy the configuration, with times that a test can wait for, and start the server on it."""
    assert PROMETHEUS
    shutil.copytree(DIRECTORY, directory)
    _rewrite(directory / "prometheus.yml", r"(scrape_interval|evaluation_interval): 15s", r"\1: 1s")
    for rules in (directory / "rules").glob("*.yml"):
        _rewrite(rules, r"for: \d+[smhd]", "for: 5s")
        _rewrite(rules, r"\[5m\]", "[20s]")
    port, log = free_port(), directory / "prometheus.log"
    running = Prometheus(f"http://127.0.0.1:{port}", directory)
    for job in ("consumer", "maintain", "api"):
        running.watch(job, [])
    processes.start(
        [
            PROMETHEUS,
            f"--config.file={directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        log=log,
    )

    async def ready() -> bool:
        async with httpx.AsyncClient() as client:
            try:
                return (await client.get(f"{running.address}/-/ready")).is_success
            except httpx.TransportError:
                return False

    await until(ready, lambda: f"Prometheus is ready; its log ends:\n{end_of(log)}")
    return running


def _rewrite(file: Path, pattern: str, replacement: str) -> None:
    text, number = re.subn(pattern, replacement, file.read_text())
    assert number or "rules" in file.parts, f"{file} has no {pattern}"
    file.write_text(text)
