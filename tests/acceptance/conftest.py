"""The real sessions, replayed: what goes in, and what must come out. And the web page, in a real browser."""

import asyncio
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from math import fsum
from pathlib import Path

import httpx
import pytest

from deploy.simulator.fleet import write_assignments
from deploy.simulator.producer import ReadingProducer
from deploy.simulator.readings import Record
from deploy.stack.processes import Processes
from deploy.stack.servers import Servers
from schemas.config.settings import KafkaSettings
from tests.support.browser import CHROMIUM, NO_CHROMIUM, OpenTab, Site, browser_tab
from tests.support.database import Database
from tests.support.ledger import Topics, ledger
from tests.support.repository import ROOT
from tests.support.services import read_service
from tests.support.simulator import replay
from tests.support.simulator.replay import Visit
from tests.support.waiting import until


@dataclass(frozen=True, slots=True)
class Station:
    """One database and two topics, with the assignments of the 992 sessions in place, and the read service running."""

    stack: Servers
    database: Database
    topics: Topics
    api: httpx.Client
    visits: tuple[Visit, ...]
    readings: list[Record]
    environment: dict[str, str]

    async def produce(self, records: list[Record]) -> None:
        """Send records through Kafka; all of them are acknowledged."""
        settings = KafkaSettings(
            kafka_bootstrap_servers=self.stack.kafka_bootstrap_servers,
            kafka_meter_topic=self.topics.meter,
            kafka_vehicle_topic=self.topics.vehicle,
        )
        producer = ReadingProducer(settings, print)
        await producer.start()
        await producer.send(records)
        await producer.stop(60)
        assert producer.counts.acknowledged == len(records)

    async def consumed(self) -> int:
        """How many records have been settled."""
        return int(await self.database.value("SELECT coalesce(sum(records_consumed), 0) FROM kafka_offsets"))

    async def until_consumed(self, number: int, *, timeout: float = 120) -> None:
        async def all_of_them() -> bool:
            return await self.consumed() >= number

        await until(all_of_them, f"{number} records are consumed", timeout=timeout)
        await ledger(self.database, self.topics)

    async def maintain(self) -> None:
        """One round: hours are rolled up, the fleet is judged."""
        await _run(self.environment | {"DATABASE_URL": self.database.migrator_url}, "maintain", "--once")
        assert await self.database.value("SELECT sum(readings) FROM meter_energy_hourly") == len(self.readings) // 2

    def check_fleet(self) -> None:
        """The days of the fleet, one after the other, add up to the file; and so do the days of each plug."""
        opens, end = min(each.valid_from for each in self.visits), max(each.valid_to for each in self.visits)
        ac: list[float] = []
        dc: list[float] = []
        closes = end
        while closes > opens:
            day = self.api.get("/v1/fleet/summary", params={"end": closes.isoformat()}).json()
            assert day["timeWindowEnd"] == closes.isoformat().replace("+00:00", "Z")
            ac.append(day["totalEnergyConsumedAc"])
            dc.append(day["totalEnergyDeliveredDc"])
            closes -= timedelta(days=1)
        energy = fsum(each.session.energy_kwh for each in self.visits)
        assert fsum(ac) == pytest.approx(energy, rel=1e-6)
        assert fsum(dc) == pytest.approx(replay.EFFICIENCY * energy, rel=1e-6)
        for plug, total in replay.expected_plugs(self.visits).items():
            asked = {"from": opens.isoformat(), "to": end.isoformat(), "resolution": "day", "limit": "1000"}
            days = self.api.get(f"/v1/meters/{plug}/history", params=asked).json()["items"]
            assert fsum(day["kwhConsumedAc"] for day in days) == pytest.approx(total.ac_kwh, rel=1e-6)
            assert sum(day["readings"] for day in days) == total.points

    def check_answers(self) -> None:
        """Every vehicle's and both plugs' totals are those of the file."""
        measured: dict[str, list[float]] = {}
        expected = replay.expected_vehicles(self.visits)
        for visit in self.visits:
            answer = self.api.get(
                f"/v1/analytics/performance/{visit.vehicle_id}",
                params={"end": (visit.valid_to + timedelta(hours=1)).isoformat()},
            ).json()
            totals = expected[visit.vehicle_id]
            assert answer["totalEnergyConsumedAc"] == pytest.approx(totals.ac_kwh, rel=1e-6), visit
            assert answer["totalEnergyDeliveredDc"] == pytest.approx(totals.dc_kwh, rel=1e-6), visit
            assert answer["averageBatteryTemp"] == pytest.approx(totals.average_battery_temp, rel=1e-6), visit
            assert answer["dataPoints"] == totals.points, visit
            assert answer["efficiencyRatio"] == 95.00, visit
            assert answer["coverage"] == {"ac": 1.0, "dc": 1.0}, visit
            assert answer["status"] in {"healthy", "insufficient_data"}, "sessions below 1 kWh are not judged"
            measured.setdefault(visit.plug, []).append(answer["totalEnergyConsumedAc"])
        plugs = replay.expected_plugs(self.visits)
        assert {plug: fsum(energies) for plug, energies in measured.items()} == {
            plug: pytest.approx(total.ac_kwh, rel=1e-6) for plug, total in plugs.items()
        }


@pytest.fixture
def station(
    stack: Servers,
    database: Database,
    topics: Topics,
    processes: Processes,
    environment: dict[str, str],
    tmp_path: Path,
) -> Iterator[Station]:
    visits = replay.visits(datetime.now(UTC) - timedelta(hours=2))
    assert len(visits) == 992
    file = tmp_path / "assignments.csv"
    with file.open("w") as csv:
        write_assignments(replay.assignments(visits), csv)
    asyncio.run(_run(environment | {"DATABASE_URL": database.migrator_url}, "assign", str(file)))
    with read_service(processes, environment, tmp_path) as api:
        yield Station(stack, database, topics, api, visits, replay.readings(visits), environment)


async def _run(environment: dict[str, str], *command: str) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "sql", *command, env=environment, cwd=ROOT)
    assert await process.wait() == 0


@pytest.fixture
def site(
    stack: Servers,
    database: Database,
    topics: Topics,
    processes: Processes,  # after the database: they end before it is dropped
    environment: dict[str, str],
    tmp_path: Path,
) -> Site:
    """The read service, not started yet."""
    return Site(processes, environment, tmp_path / "api.log", stack, database, topics)


@pytest.fixture
def open_tab(site: Site) -> OpenTab:
    """Opens the web page in a browser."""
    if CHROMIUM is None:
        pytest.skip(NO_CHROMIUM)
    return partial(browser_tab, site.address)
