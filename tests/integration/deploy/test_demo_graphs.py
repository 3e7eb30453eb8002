"""The demo's Prometheus: its pages are there, also when its usual port is not; without it the demo says what to install."""

import asyncio
import socket
from pathlib import Path

import httpx
import pytest

from deploy.demo import prometheus
from deploy.stack.processes import Processes
from tests.support.prometheus import NO_PROMETHEUS, PROMETHEUS
from tests.support.waiting import until

TARGETS = {"consumer": ["localhost:1"], "maintain": [], "api": []}


@pytest.mark.skipif(PROMETHEUS is None, reason=NO_PROMETHEUS)
def test_graphs_and_alerts_have_pages_wherever_it_listens(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr(prometheus, "PORT", taken.getsockname()[1])
        pages = prometheus.start_prometheus(processes, tmp_path / "prometheus", TARGETS, said.append)
        assert pages
        assert f"port {prometheus.PORT} is taken" in said[0]
        for page in (pages.graphs, pages.alerts):
            assert httpx.get(page).is_success, page
        address = pages.alerts.partition("/classic")[0].removesuffix("/alerts")

        async def asks_its_target() -> bool:
            async with httpx.AsyncClient(base_url=address) as client:
                asked = (await client.get("/api/v1/targets")).json()["data"]["activeTargets"]
            return [each["scrapeUrl"] for each in asked] == ["http://localhost:1/metrics"]

        asyncio.run(until(asks_its_target, "it asks the demo's consumers and nobody else"))


def test_without_prometheus_the_demo_says_what_to_install(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said: list[str] = []
    assert prometheus.start_prometheus(processes, tmp_path, TARGETS, said.append) is None
    assert "apt-get install prometheus" in said[0]
