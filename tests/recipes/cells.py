"""The recipe `move`: meters and vehicles that send to two cells, and a database with the readings of both to compare with."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg
from aiokafka import AIOKafkaProducer

from deploy.stack.processes import Processes
from deploy.stack.servers import Servers
from deploy.stack.topics import create_topics
from tests.support.command import sql_command
from tests.support.database import Database
from tests.support.ledger import Topics, consumed, ledger
from tests.support.records import meter, vehicle
from tests.support.responses import body, pages
from tests.support.services import ConsumerGroup, read_service, service_environment
from tests.support.waiting import until

NORTH: Final = Topics("meter-readings", "vehicle-readings", 4)
SOUTH: Final = Topics("south-meters", "south-vehicles", 4)
ARRIVING: Final = Topics("arriving-meters", "arriving-vehicles", 4)
WHOLE: Final = Topics(f"{NORTH.meter},{ARRIVING.meter}", f"{NORTH.vehicle},{ARRIVING.vehicle}", 4)
CHARGERS: Final = 20
FIRST_MOVED: Final = 10
MINUTES: Final = 10  # that are stored before the first command, and sent after the last
BEFORE: Final = timedelta(hours=20)  # the first reading
PAUSE_SECONDS: Final = 0.5  # between two minutes
VOLATILE: Final = frozenset(
    {"updatedAt", "freshnessSeconds", "readingsPerSecond", "writtenAt", "evaluatedAt", "computedAt", "stale", "cell"}
    | {"timeWindowStart", "timeWindowEnd"}  # of evaluations that ran one after the other
)


READINGS: Final = """
SELECT meter_id AS device, recorded_at, kwh_consumed_ac FROM meter_readings
UNION ALL SELECT vehicle_id, recorded_at, kwh_delivered_dc FROM vehicle_readings"""


@dataclass(frozen=True, slots=True)
class Fleet:
    """Two cells, and a database with the readings of both."""

    north: Database
    south: Database
    whole: Database


async def _create(servers: Servers) -> Fleet:
    connection = await asyncpg.connect(servers.database_url)
    for name in ("south", "whole"):
        await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    return Fleet(Database("energy", servers), Database("south", servers), Database("whole", servers))


class Chargers:
    """Sends a reading of each meter and vehicle for one minute after another; `minutes` were acknowledged."""

    def __init__(self, producer: Any, switched: Path) -> None:
        self._producer = producer
        self._switched = switched
        self._start = datetime.now(UTC).replace(second=0, microsecond=0) - BEFORE
        self.minutes = 0
        self.stopping = False

    async def run(self) -> None:
        while not self.stopping:
            await self._send(self._start + timedelta(minutes=self.minutes))
            self.minutes += 1
            await asyncio.sleep(PAUSE_SECONDS)

    async def _send(self, at: datetime) -> None:
        sent = []
        for number in range(CHARGERS):
            topics = ARRIVING if number >= FIRST_MOVED and self._switched.exists() else NORTH
            kwh = (at.minute + number) % 7 / 10
            for topic, name, value in (
                (topics.meter, f"PLUG-{number:02}", meter(f"PLUG-{number:02}", at, kwh)),
                (topics.vehicle, f"CAR-{number:02}", vehicle(f"CAR-{number:02}", at, kwh * 0.9)),
            ):
                sent.append(await self._producer.send(topic, value, name.encode()))
        await asyncio.gather(*sent)

    async def reach(self, minutes: int) -> None:
        async def reached() -> bool:
            return self.minutes >= minutes

        await until(reached, f"{minutes} minutes are sent", timeout=600)


@asynccontextmanager
async def sending(servers: Servers, switched: Path) -> AsyncIterator[Chargers]:
    producer = AIOKafkaProducer(bootstrap_servers=servers.kafka_bootstrap_servers, acks="all", enable_idempotence=True)
    await producer.start()
    chargers = Chargers(producer, switched)
    task = asyncio.create_task(chargers.run())
    try:
        yield chargers
    finally:
        chargers.stopping = True
        await task
        await producer.stop()


async def move_recipe(
    servers: Servers,
    processes: Processes,
    directory: Path,
    execute: Callable[[dict[str, str]], Awaitable[None]],
) -> str:
    """Executes the commands of the page in an environment, while readings flow; returns what was found afterwards."""
    fleet = await _create(servers)
    await create_topics(
        servers.kafka_bootstrap_servers, [NORTH.meter, NORTH.vehicle, SOUTH.meter, SOUTH.vehicle], partitions=4
    )
    consumers = [
        await _start(name, database, topics, servers, processes, directory)
        for name, database, topics in (
            ("north", fleet.north, NORTH), ("south", fleet.south, SOUTH), ("whole", fleet.whole, WHOLE),
        )
    ]  # fmt: skip
    async with sending(servers, directory / "switched") as chargers:
        await chargers.reach(MINUTES)
        environment = service_environment(servers, fleet.north, NORTH) | {
            "DATABASE_URL": fleet.north.migrator_url,
            "TARGET_DATABASE_URL": fleet.south.migrator_url,
            "NORTH": fleet.north.migrator_url,
            "SOUTH": fleet.south.migrator_url,
            "SOUTH_WRITER": fleet.south.writer_url,
            "SOUTH_CONSUMER": str(consumers[1]),
        }
        await execute(environment)
        await chargers.reach(chargers.minutes + MINUTES)
    sent = chargers.minutes * CHARGERS * 2
    await _until_stored(fleet, sent)
    await asyncio.to_thread(_compare, fleet, servers, processes, directory)
    return (
        f"{sent} readings sent, {await _stored(fleet.north)} in north, {await _stored(fleet.south)} in south, each once"
    )


async def _start(
    name: str, database: Database, topics: Topics, servers: Servers, processes: Processes, directory: Path
) -> int:
    environment = service_environment(servers, database, topics) | {"KAFKA_GROUP_ID": name}
    command = sql_command(environment, database)
    await command.succeed("migrate")
    if name != "south":
        lines = [f"CAR-{number:02},PLUG-{number:02},2020-01-01T00:00:00Z," for number in range(CHARGERS)]
        await command.succeed("assign", "-", stdin="\n".join(["vehicle_id,meter_id,valid_from,valid_to", *lines]))
    (directory / name).mkdir()
    return int(ConsumerGroup(processes, environment, directory / name).start().process.pid)


async def _stored(database: Database) -> int:
    return int(
        await database.value("SELECT (SELECT count(*) FROM meter_readings) + (SELECT count(*) FROM vehicle_readings)")
    )


async def _until_stored(fleet: Fleet, sent: int) -> None:
    async def are_stored() -> bool:
        return await consumed(fleet.north) + await consumed(fleet.south) >= sent <= await consumed(fleet.whole)

    await until(are_stored, f"{sent} readings are consumed", timeout=300)
    for database, topics in (
        (fleet.north, NORTH),
        (fleet.south, Topics(f"{SOUTH.meter},{ARRIVING.meter}", f"{SOUTH.vehicle},{ARRIVING.vehicle}", 4)),
        (fleet.whole, WHOLE),
    ):
        assert all(entry.dead_lettered == 0 for entry in (await ledger(database, topics)).values())
    north, south, whole = [
        sorted(map(tuple, await each.fetch(READINGS))) for each in (fleet.north, fleet.south, fleet.whole)
    ]
    assert len(whole) == sent
    assert sorted(north + south) == whole, f"{len(north)} + {len(south)} readings in the cells, {len(whole)} were sent"
    moved = {f"{kind}-{number:02}" for kind in ("CAR", "PLUG") for number in range(FIRST_MOVED, CHARGERS)}
    assert {row[0] for row in south} == moved
    assert not moved & {row[0] for row in north}


def _compare(fleet: Fleet, servers: Servers, processes: Processes, directory: Path) -> None:
    """Every route of a read service over both cells answers as that of the database with all readings."""
    for database in (fleet.north, fleet.south, fleet.whole):
        environment = service_environment(servers, database, NORTH) | {"DATABASE_URL": database.migrator_url}
        subprocess.run([sys.executable, "-m", "sql", "maintain", "--once"], env=environment, check=True)
    base = service_environment(servers, fleet.whole, NORTH) | {"INGESTION_ENABLED": "false", "DATABASE_READ_URL": ""}
    cells = {"DATABASE_CELLS": f"north={fleet.north.reader_url}\nsouth={fleet.south.reader_url}"}
    for name in ("of-whole", "of-cells"):
        (directory / name).mkdir()
    with (
        read_service(processes, base | {"DATABASE_URL": fleet.whole.reader_url}, directory / "of-whole") as whole,
        read_service(processes, base | cells, directory / "of-cells") as both,
    ):
        for path in _paths():
            found, expected = _steady(body(both.get(path))), _steady(body(whole.get(path)))
            assert found == expected, f"{path}: {found} instead of {expected}"
        for path in ("/v1/vehicles", "/v1/meters", "/v1/fleet/ranking", "/v1/faults"):
            assert _steady(pages(both, path, limit=7)) == _steady(pages(whole, path, limit=7)), path


def _paths() -> Iterator[str]:
    now = datetime.now(UTC)
    end = now.replace(second=0, microsecond=0).isoformat().replace("+00:00", "Z")
    period = f"from={(now - timedelta(days=2)):%Y-%m-%dT00:00:00Z}&to={end}&limit=1000"
    for number in (0, FIRST_MOVED, CHARGERS - 1):
        yield f"/v1/analytics/performance/CAR-{number:02}?end={end}"
        yield f"/v1/analytics/trend/CAR-{number:02}"
        yield f"/v1/vehicles/CAR-{number:02}"
        yield f"/v1/meters/PLUG-{number:02}"
        for resolution in ("raw", "hour", "day"):
            yield f"/v1/vehicles/CAR-{number:02}/history?{period}&resolution={resolution}"
            yield f"/v1/meters/PLUG-{number:02}/history?{period}&resolution={resolution}"
    yield "/v1/fleet/summary"
    yield f"/v1/fleet/summary?end={end}"
    yield "/v1/fleet/aging"
    yield "/v1/dead-letters"


def _steady(answer: Any) -> Any:
    """An answer without what depends on the moment of writing or asking."""
    if isinstance(answer, dict):
        return {name: _steady(value) for name, value in answer.items() if name not in VOLATILE}
    if isinstance(answer, list):
        return [_steady(each) for each in answer]
    return round(answer, 9) if isinstance(answer, float) else answer
