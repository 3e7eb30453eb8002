"""The web page as a person has it: a running read service, and a real Chromium that keeps every complaint."""

import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
from aiokafka import AIOKafkaProducer
from playwright.async_api import Locator, Page, async_playwright, expect

from deploy.stack.ports import free_port
from deploy.stack.processes import Processes, end_of
from deploy.stack.servers import Servers
from tests.support.arrange import evaluate, insert, unassigned
from tests.support.servers import Database, Topics
from tests.support.services import ROOT
from tests.support.waiting import until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
MISSING = "the web page was not tried: there is no chromium on the PATH; apt-get install chromium brings it"
expect.set_options(timeout=30_000)
COMPLAINTS = {"error", "warning"}
REPORT_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) => console.error(`${event.violatedDirective} ${event.blockedURI}`));
"""


@dataclass(slots=True)
class Site:
    """`python -m api` on a port of its own, that can be stopped, frozen and started again."""

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
        """Start it, and wait until it answers from the database."""
        settings = self.environment | {"API_PORT": str(self.port)}
        self.process = self.processes.start([sys.executable, "-m", "api"], log=self.log, env=settings, cwd=ROOT)

        async def ready() -> bool:
            async with httpx.AsyncClient() as client:
                try:
                    return (await client.get(f"{self.address}/readyz")).is_success
                except httpx.TransportError:
                    return False

        await until(ready, lambda: f"the read service is ready; its log ends:\n{end_of(self.log)}")

    def stop(self) -> None:
        """SIGTERM."""
        assert self.process
        assert self.processes.stop(self.process) == 0, end_of(self.log)

    async def ask(self, path: str, **parameters: Any) -> Any:
        """The JSON of an answer."""
        async with httpx.AsyncClient(base_url=self.address, timeout=20) as client:
            answer = await client.get(path, params=parameters)
        assert answer.is_success, answer.text
        return answer.json()

    async def produce(self, *, meters: list[bytes] | None = None, vehicles: list[bytes] | None = None) -> None:
        """Send readings of either kind to Kafka; all are acknowledged. They are of one device each: order is kept."""
        async with AIOKafkaProducer(bootstrap_servers=self.stack.kafka_bootstrap_servers, acks="all") as producer:
            for topic, values in ((self.topics.meter, meters), (self.topics.vehicle, vehicles)):
                for value in values or []:
                    await producer.send(topic, value, partition=0)
            await producer.flush()

    async def until_consumed(self, records: int) -> None:
        """Wait until the consumer has settled so many records."""

        async def all_of_them() -> bool:
            query = "SELECT coalesce(sum(records_consumed), 0) >= $1 FROM kafka_offsets"
            return bool(await self.database.value(query, records))

        await until(all_of_them, f"{records} records are consumed")


@dataclass(frozen=True, slots=True)
class Viewer:
    """A tab, what the browser complained of in it, and every address it asked for."""

    page: Page
    address: str
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    under_way: set[str] = field(default_factory=set)

    async def has_all_answers(self) -> None:
        """Wait until nothing that was asked is without an answer, but the stream, which has no end."""

        async def only_the_stream_is_left() -> bool:
            return all("/v1/stream" in url for url in self.under_way)

        await until(only_the_stream_is_left, "the page has its answers")

    async def open(self, place: str = "") -> None:
        """Go to a place of the page, as `#/vehicle/VEH-001`."""
        await self.page.goto(f"{self.address}/{place}")

    def find(self, selector: str, **that: Any) -> Locator:
        return self.page.locator(selector, **that)

    def value(self, name: str) -> Locator:
        """The number on show that has this name in the API's answer, of the view that is open."""
        return self.find(f"[data-field='{name}']:visible")

    def vehicles(self) -> Locator:
        """The links of the vehicles in the list."""
        return self.find("#vehicles tbody th a")

    def is_content(self) -> None:
        """Nothing was complained of, and nobody else was asked for anything."""
        assert self.complaints == []
        assert [url for url in self.asked if not url.startswith((f"{self.address}/", "data:", "blob:"))] == []


Look = Callable[..., AbstractAsyncContextManager[Viewer]]  # the fixture `look`: `viewer`, at the site of the test


@asynccontextmanager
async def viewer(address: str, **options: Any) -> AsyncIterator[Viewer]:
    """A tab, with options of a Playwright context: viewport, color_scheme, timezone_id."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, chromium_sandbox=os.geteuid() != 0)
        page = await browser.new_page(**options)
        await page.add_init_script(REPORT_VIOLATIONS)
        opened = Viewer(page, address)
        page.on("request", lambda request: opened.asked.append(request.url))
        page.on("request", lambda request: opened.under_way.add(request.url))
        page.on("requestfinished", lambda request: opened.under_way.discard(request.url))
        page.on("requestfailed", lambda request: opened.under_way.discard(request.url))
        page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        page.on("console", lambda said: opened.complaints.append(said.text) if said.type in COMPLAINTS else None)
        yield opened
        await browser.close()


async def some_vehicles(database: Database, at: datetime) -> None:
    """Five evaluated vehicles with statuses of their own, four of them with a newest reading, one with an open fault."""
    judged = {
        "VEH-001": (92.5, "healthy"),
        "VEH-002": (88.0, "degraded"),
        "VEH-003": (71.25, "faulty"),
        "CAR-9": (95.0, "healthy"),
    }
    for number, (vehicle_id, (ratio, status)) in enumerate(judged.items()):
        await evaluate(database, vehicle_id, at, ratio=ratio, status=status, ac_kwh=10.0 + number, dc_kwh=9.0)
        reading = {"soc": 50.0 + number, "last_kwh_delivered_dc": 0.1, "last_battery_temp": 25.0}
        await insert(database, "vehicle_live_status", vehicle_id=vehicle_id, recorded_at=at, updated_at=at, **reading)
    await unassigned(database, "VEH-004", at)
    seen = {"opened_ratio": 72.0, "opened_ac_kwh": 10.0, "opened_dc_kwh": 7.2, "lowest_ratio": 71.0}
    opened = at - timedelta(hours=2)
    await insert(database, "efficiency_faults", vehicle_id="VEH-003", meter_ids=["METER-003"], opened_at=opened, **seen)
