"""A real Prometheus with the configuration of this repository, shortened times and the targets of a test."""

import json
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.stack.ports import free_port
from deploy.stack.processes import Processes
from tests.support.repository import ROOT
from tests.support.responses import http_client
from tests.support.services import until_get_succeeds
from tests.support.waiting import until

PROMETHEUS = shutil.which("prometheus")
PROMTOOL = shutil.which("promtool")
NO_PROMETHEUS = (
    "alerts and dashboards were not tested: there is no prometheus on the PATH; apt-get install prometheus brings it"
)
DIRECTORY = ROOT / "deploy" / "prometheus"


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running server; `directory` holds its configuration."""

    address: str
    directory: Path

    def scrape(self, job: str, targets: Iterable[str]) -> None:
        """Replaces the targets (host:port) of a job: consumer, maintain or api."""
        file = self.directory / "targets" / f"{job}.yml"
        new = file.with_suffix(".new")
        new.write_text(json.dumps([{"targets": list(targets)}]))
        new.replace(file)

    async def query(self, query: str) -> list[dict[str, Any]]:
        """The samples of an instant query."""
        samples: list[dict[str, Any]] = (await self._get("query", query=query))["result"]
        return samples

    async def label_values(self, metric: str, label: str) -> list[str]:
        """The values of a label among the series of a metric, as a dashboard's variable lists them."""
        values: list[str] = await self._get(f"label/{label}/values", **{"match[]": metric})
        return values

    async def until(self, query: str, *, timeout: float = 120) -> list[dict[str, Any]]:
        """Waits until a query has samples and returns them."""
        return await until(lambda: self.query(query), f"{query} has samples", timeout=timeout, every=0.5)

    async def alert(self, name: str) -> dict[str, Any] | None:
        """A pending or firing alert with its annotations filled in; None when it is neither."""
        alerts = (await self._get("alerts"))["alerts"]
        return next((each for each in alerts if each["labels"]["alertname"] == name), None)

    async def until_alert(self, name: str, state: str | None, *, timeout: float = 120) -> dict[str, Any]:
        """Waits until an alert is in this state (pending or firing; None: neither) and returns it."""

        async def in_state() -> dict[str, Any] | None:
            found = await self.alert(name)
            if state is None:
                return {"state": None} if found is None else None
            return found if found and found["state"] == state else None

        found = await until(in_state, f"{name} is {state}", timeout=timeout, every=0.2)
        assert found
        return found

    async def _get(self, path: str, **parameters: str) -> Any:
        """The data of a response of the HTTP API, which must be a success."""
        async with http_client(self.address) as client:
            response = (await client.get(f"/api/v1/{path}", params=parameters)).json()
        assert response["status"] == "success", f"{path}, {parameters}: {response}"
        return response["data"]


async def start_prometheus(processes: Processes, directory: Path) -> Prometheus:
    """Starts a server on a copy of the configuration in `directory`, with times short enough for a test."""
    assert PROMETHEUS
    shutil.copytree(DIRECTORY, directory)
    _rewrite(directory / "prometheus.yml", r"(scrape_interval|evaluation_interval): 15s", r"\1: 1s")
    for rules in (directory / "rules").glob("*.yml"):
        _rewrite(rules, r"for: \d+[smhd]", "for: 5s")
        _rewrite(rules, r"\[5m\]", "[20s]")
    port, log = free_port(), directory / "prometheus.log"
    running = Prometheus(f"http://127.0.0.1:{port}", directory)
    for job in ("consumer", "maintain", "api"):
        running.scrape(job, [])
    processes.start(
        [
            PROMETHEUS,
            f"--config.file={directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        log=log,
    )
    await until_get_succeeds(f"{running.address}/-/ready", log)
    return running


def _rewrite(file: Path, pattern: str, replacement: str) -> None:
    text, number = re.subn(pattern, replacement, file.read_text())
    assert number or "rules" in file.parts, f"{file} has no {pattern}"
    file.write_text(text)
