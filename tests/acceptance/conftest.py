"""Fixtures of the acceptance tests: the replay of real charging sessions, and the web page in a browser."""

import asyncio
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
from tests.support.command import sql_command
from tests.support.database import Database
from tests.support.ledger import Topics, ledger, until_consumed
from tests.support.services import read_service
from tests.support.simulator import replay
from tests.support.simulator.replay import Visit
from tests.support.waiting import until


@dataclass(frozen=True, slots=True)
class Replay:
    """The 992 real sessions: their visits and readings, a database with their assignments, and a running read service."""

    stack: Servers
    database: Database
    topics: Topics
    api: httpx.Client
    visits: tuple[Visit, ...]
    readings: list[Record]
    environment: dict[str, str]

    async def produce(self, records: list[Record]) -> None:
        """Sends records to Kafka. Fails unless all are acknowledged."""
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

    async def until_consumed(self, number: int, *, timeout: float = 120) -> None:
        """Waits until this many records are committed, and checks that the ledger adds up."""
        await until_consumed(self.database, None, number, timeout=timeout)
        await ledger(self.database, self.topics)

    async def maintain(self) -> None:
        """Runs maintenance until all hours are rolled up, of which a round may leave some to the next one."""

        async def is_done() -> bool:
            await sql_command(self.environment, self.database).succeed("maintain", "--once")
            rolled_up = await self.database.value("SELECT sum(readings) FROM meter_hours")
            return bool(rolled_up == len(self.readings) // 2)

        await until(is_done, "all hours are rolled up", timeout=200)

    def check_fleet(self) -> None:
        """The days of the fleet add up to the energy in the file, and so do the days of each plug."""
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
            parameters = {"from": opens.isoformat(), "to": end.isoformat(), "resolution": "day", "limit": "1000"}
            days = self.api.get(f"/v1/meters/{plug}/history", params=parameters).json()["items"]
            assert fsum(day["kwhConsumedAc"] for day in days) == pytest.approx(total.ac_kwh, rel=1e-6)
            assert sum(day["readings"] for day in days) == total.points

    def check_vehicles(self) -> None:
        """The totals of every vehicle and of both plugs are those of the file."""
        measured: dict[str, list[float]] = {}
        expected = replay.expected_vehicles(self.visits)
        for visit in self.visits:
            response = self.api.get(
                f"/v1/analytics/performance/{visit.vehicle_id}",
                params={"end": (visit.valid_to + timedelta(hours=1)).isoformat()},
            ).json()
            totals = expected[visit.vehicle_id]
            assert response["totalEnergyConsumedAc"] == pytest.approx(totals.ac_kwh, rel=1e-6), visit
            assert response["totalEnergyDeliveredDc"] == pytest.approx(totals.dc_kwh, rel=1e-6), visit
            assert response["averageBatteryTemp"] == pytest.approx(totals.average_battery_temp, rel=1e-6), visit
            assert response["dataPoints"] == totals.points, visit
            assert response["efficiencyRatio"] == 95.00, visit
            assert response["coverage"] == {"ac": 1.0, "dc": 1.0}, visit
            assert response["status"] in {"healthy", "insufficient_data"}, "sessions below 1 kWh have no efficiency"
            measured.setdefault(visit.plug, []).append(response["totalEnergyConsumedAc"])
        plugs = replay.expected_plugs(self.visits)
        assert {plug: fsum(energies) for plug, energies in measured.items()} == {
            plug: pytest.approx(total.ac_kwh, rel=1e-6) for plug, total in plugs.items()
        }


@pytest.fixture
def replayed(
    stack: Servers,
    database: Database,
    topics: Topics,
    processes: Processes,
    environment: dict[str, str],
    tmp_path: Path,
) -> Iterator[Replay]:
    """The sessions, moved to end two hours ago; their assignments are imported, and nothing is produced yet."""
    visits = replay.visits(datetime.now(UTC) - timedelta(hours=2))
    assert len(visits) == 992
    file = tmp_path / "assignments.csv"
    with file.open("w") as csv:
        write_assignments(replay.assignments(visits), csv)
    asyncio.run(sql_command(environment, database).succeed("assign", str(file)))
    with read_service(processes, environment, tmp_path) as api:
        yield Replay(stack, database, topics, api, visits, replay.readings(visits), environment)


@pytest.fixture
def site(
    stack: Servers,
    database: Database,
    topics: Topics,
    processes: Processes,  # requested after the database, so that processes end before it is dropped
    environment: dict[str, str],
    tmp_path: Path,
) -> Site:
    """The read service for the web page, not started yet."""
    return Site(processes, environment, tmp_path / "api.log", stack, database, topics)


@pytest.fixture
def open_tab(site: Site) -> OpenTab:
    """Opens tabs of a browser at the web page."""
    if CHROMIUM is None:
        pytest.skip(NO_CHROMIUM)
    return partial(browser_tab, site.address)
