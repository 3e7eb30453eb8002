"""The web page in a real Chromium: the read service that serves it, and tabs that record requests and console messages."""

import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
from aiokafka import AIOKafkaProducer
from playwright.async_api import Locator, Page, async_playwright, expect

from deploy.stack.ports import free_port
from deploy.stack.processes import Processes, end_of
from deploy.stack.servers import Servers
from tests.support.database import Database
from tests.support.database_rows import insert_evaluation, insert_row, insert_unassigned_evaluation
from tests.support.ledger import Topics
from tests.support.repository import ROOT
from tests.support.responses import http_client
from tests.support.services import until_get_succeeds
from tests.support.waiting import until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NO_CHROMIUM = "the web page was not tested: there is no chromium on the PATH; apt-get install chromium brings it"
expect.set_options(timeout=30_000)
REPORTED_LEVELS = {"error", "warning"}
REPORT_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) => console.error(`${event.violatedDirective} ${event.blockedURI}`));
"""


@dataclass(slots=True)
class Site:
    """`python -m api` on a port of its own, which a test can stop, suspend and start again."""

    processes: Processes
    environment: dict[str, str]
    log: Path
    stack: Servers
    database: Database
    topics: Topics
    port: int = field(default_factory=free_port)
    process: psutil.Popen | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Starts the service and waits until it can answer from the database."""
        settings = self.environment | {"API_PORT": str(self.port)}
        self.process = self.processes.start([sys.executable, "-m", "api"], log=self.log, env=settings, cwd=ROOT)
        await until_get_succeeds(f"{self.address}/readyz", self.log)

    def stop(self) -> None:
        """Sends SIGTERM; the exit code must be 0."""
        assert self.process
        assert self.processes.stop(self.process) == 0, end_of(self.log)

    async def get_json(self, path: str, **parameters: Any) -> Any:
        """The JSON body of a response, which must be a success."""
        async with http_client(self.address) as client:
            response = await client.get(path, params=parameters)
        assert response.is_success, response.text
        return response.json()

    async def produce(self, *, meters: list[bytes] | None = None, vehicles: list[bytes] | None = None) -> None:
        """Sends readings to Kafka and waits for their acknowledgements. All go to partition 0, which keeps their order."""
        async with AIOKafkaProducer(bootstrap_servers=self.stack.kafka_bootstrap_servers, acks="all") as producer:
            for topic, values in ((self.topics.meter, meters), (self.topics.vehicle, vehicles)):
                for value in values or []:
                    await producer.send(topic, value, partition=0)
            await producer.flush()


@dataclass(frozen=True, slots=True)
class Tab:
    """A browser tab, with the errors and warnings of its console and the URLs that it has requested."""

    page: Page
    address: str
    complaints: list[str] = field(default_factory=list)
    requested: list[str] = field(default_factory=list)
    in_flight: set[str] = field(default_factory=set)

    async def until_responses_complete(self) -> None:
        """Waits until no request is in flight except the event stream, which never ends."""

        async def only_the_stream_is_left() -> bool:
            return all("/v1/stream" in url for url in self.in_flight)

        await until(only_the_stream_is_left, "every response of the page is complete")

    async def open(self, path: str = "") -> None:
        """Goes to a path of the service or a fragment of the page, such as `#/vehicle/VEH-001`."""
        await self.page.goto(f"{self.address}/{path}")

    def find(self, selector: str, **options: Any) -> Locator:
        return self.page.locator(selector, **options)

    def value(self, name: str) -> Locator:
        """The visible element that shows this field of the API's response."""
        return self.find(f"[data-field='{name}']:visible")

    def vehicles(self) -> Locator:
        """The links of the vehicles in the list."""
        return self.find("#vehicles tbody th a")

    def has_no_complaints(self) -> None:
        """The console has no error and no warning, and every request went to this service."""
        assert self.complaints == []
        assert [url for url in self.requested if not url.startswith((f"{self.address}/", "data:", "blob:"))] == []


OpenTab = Callable[
    ..., AbstractAsyncContextManager[Tab]
]  # the fixture `open_tab`: `browser_tab` at the site of the test


@asynccontextmanager
async def browser_tab(address: str, **options: Any) -> AsyncIterator[Tab]:
    """A tab, with options of a Playwright context: viewport, color_scheme, timezone_id."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, chromium_sandbox=os.geteuid() != 0)
        page = await browser.new_page(**options)
        await page.add_init_script(REPORT_VIOLATIONS)
        tab = Tab(page, address)
        page.on("request", lambda request: tab.requested.append(request.url))
        page.on("request", lambda request: tab.in_flight.add(request.url))
        page.on("requestfinished", lambda request: tab.in_flight.discard(request.url))
        page.on("requestfailed", lambda request: tab.in_flight.discard(request.url))
        page.on("pageerror", lambda error: tab.complaints.append(str(error)))
        page.on("console", lambda line: tab.complaints.append(line.text) if line.type in REPORTED_LEVELS else None)
        yield tab
        await browser.close()


async def insert_vehicles(database: Database, at: datetime) -> None:
    """Five vehicles with an evaluation each. Four have a latest reading, one an open fault, one no meter."""
    evaluations = {
        "VEH-001": (92.5, "healthy"),
        "VEH-002": (88.0, "degraded"),
        "VEH-003": (71.25, "faulty"),
        "CAR-9": (95.0, "healthy"),
    }
    for number, (vehicle_id, (ratio, status)) in enumerate(evaluations.items()):
        await insert_evaluation(database, vehicle_id, at, ratio=ratio, status=status, ac_kwh=10.0 + number, dc_kwh=9.0)
        reading = {"soc": 50.0 + number, "last_kwh_delivered_dc": 0.1, "last_battery_temp": 25.0}
        await insert_row(
            database, "vehicle_live_status", vehicle_id=vehicle_id, recorded_at=at, updated_at=at, **reading
        )
    await insert_unassigned_evaluation(database, "VEH-004", at)
    opening = {"opened_ratio": 72.0, "opened_ac_kwh": 10.0, "opened_dc_kwh": 7.2, "lowest_ratio": 71.0}
    await insert_row(
        database, "efficiency_faults", vehicle_id="VEH-003", meter_ids=["METER-003"],
        opened_at=at - timedelta(hours=2), **opening,
    )  # fmt: skip
