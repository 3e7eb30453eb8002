"""The demo's Prometheus: its pages, a taken port, and the message when Prometheus is not installed."""

import asyncio
import socket
from pathlib import Path

import httpx
import pytest

from deploy.demo import prometheus
from deploy.stack.processes import Processes
from tests.support.prometheus import NO_PROMETHEUS, PROMETHEUS
from tests.support.responses import http_client
from tests.support.waiting import until

TARGETS = {"consumer": ["localhost:1"], "maintain": [], "api": []}


@pytest.mark.skipif(PROMETHEUS is None, reason=NO_PROMETHEUS)
def test_graphs_and_alerts_have_pages_on_any_port(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages: list[str] = []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr(prometheus, "PORT", taken.getsockname()[1])
        pages = prometheus.start_prometheus(processes, tmp_path / "prometheus", TARGETS, messages.append)
        assert pages
        assert f"port {prometheus.PORT} is taken" in messages[0]
        for page in (pages.graphs, pages.alerts):
            assert httpx.get(page).is_success, page
        address = pages.alerts.partition("/classic")[0].removesuffix("/alerts")

        async def scrapes_its_target() -> bool:
            async with http_client(address) as client:
                targets = (await client.get("/api/v1/targets")).json()["data"]["activeTargets"]
            return [each["scrapeUrl"] for each in targets] == ["http://localhost:1/metrics"]

        asyncio.run(until(scrapes_its_target, "it scrapes the demo's consumers only"))


def test_without_prometheus_the_demo_names_the_package_to_install(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    messages: list[str] = []
    assert prometheus.start_prometheus(processes, tmp_path, TARGETS, messages.append) is None
    assert "apt-get install prometheus" in messages[0]
