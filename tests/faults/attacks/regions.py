"""The loss of a region: its devices send to the other one, until it comes back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from deploy.stack.jars import kafka_jars
from deploy.stack.kafka import Kafka
from deploy.stack.processes import Processes
from deploy.stack.resolve import clear
from tests.faults.regions.devices import Devices
from tests.faults.regions.mirror import start_mirror
from tests.faults.regions.region import Region, create_region
from tests.faults.testbed import Testbed
from tests.support.database import Database, new_database
from tests.support.waiting import until

EAST, WEST = "east", "west"
TAKEN_OVER: Final = 500  # readings
START: Final = timedelta(hours=40)  # before now: no device runs ahead of the clock


async def lose_a_region(testbed: Testbed, number: int) -> None:
    """Readings flow in both regions. One is lost; its devices send to the other one, and go back when it has returned.

    Meanwhile the remaining region stores every reading that it has acknowledged or mirrored. In the end each region has stored
    every reading that either of them has acknowledged, once.
    """
    async with _two_regions(testbed, number) as (east, west):
        start = datetime.now(UTC).replace(second=0, microsecond=0) - START
        of_east, of_west = (Devices(region.name, region.own, start) for region in (east, west))
        await of_east.send_to(east.kafka.bootstrap_servers)
        await of_west.send_to(west.kafka.bootstrap_servers)
        for region, other in ((east, west), (west, east)):
            mirrored = partial(_has_stored, region, other)
            await until(mirrored, f"{region.name} stores readings of {other.name}", timeout=180, every=0.5)
        await asyncio.to_thread(east.lose)
        await of_east.send_to(west.kafka.bootstrap_servers)
        await until(partial(_has_accepted, west, of_east, TAKEN_OVER), "the west takes the devices over")
        accepted = (
            of_east.acknowledged[west.kafka.bootstrap_servers] | of_west.acknowledged[west.kafka.bootstrap_servers]
        )
        in_west = await west.logged()
        assert accepted <= in_west, "Kafka has what it acknowledged"
        await west.until_stored(in_west, "every reading in its Kafka")
        waiting = of_east.acknowledged[east.kafka.bootstrap_servers] - in_west

        await asyncio.to_thread(east.kafka.start)
        east.start_consumer()
        await of_east.send_to(east.kafka.bootstrap_servers)
        returned = len(of_east.acknowledged[east.kafka.bootstrap_servers]) + TAKEN_OVER
        await until(partial(_has_accepted, east, of_east, returned), "the devices send to their region again")
        for devices in (of_east, of_west):
            await devices.finish()
        everything = set().union(*of_east.acknowledged.values(), *of_west.acknowledged.values())
        for region in (east, west):
            await region.until_stored(everything, "every reading of both regions")
        duplicates = [await region.verify(everything) for region in (east, west)]
        _add(testbed, readings=len(everything), waited_in_the_lost_region=len(waiting), duplicates=sum(duplicates))


def _add(testbed: Testbed, **counts: int) -> None:
    for name, count in counts.items():
        testbed.measurements[name] = testbed.measurements.get(name, 0) + count


async def _has_stored(region: Region, other: Region) -> bool:
    """Whether readings of the other region's devices are stored."""
    return any(f"-{other.name}-" in device for device, _ in await region.stored())


async def _has_accepted(region: Region, devices: Devices, readings: int) -> bool:
    return len(devices.acknowledged[region.kafka.bootstrap_servers]) > readings


@asynccontextmanager
async def _two_regions(testbed: Testbed, number: int) -> AsyncIterator[tuple[Region, Region]]:
    """Two running regions that mirror each other; their Kafkas and databases are new."""
    directory = testbed.stack.directory / "regions"
    await asyncio.to_thread(clear, directory)
    for name in (EAST, WEST):
        (directory / name).mkdir(parents=True)
    exits = ExitStack()
    try:
        databases = [
            await asyncio.to_thread(exits.enter_context, _database(testbed, f"{name}_{number}"))
            for name in (EAST, WEST)
        ]
        processes = exits.enter_context(Processes())
        regions = []
        for (name, other), database in zip(((EAST, WEST), (WEST, EAST)), databases, strict=True):
            kafka = Kafka(processes, directory / f"kafka-{name}", kafka_jars(print), None)
            await asyncio.to_thread(kafka.start)
            regions.append(
                await create_region(name, other, testbed.stack, kafka, database, processes, directory / name)
            )
        servers = {region.name: region.kafka.bootstrap_servers for region in regions}
        start_mirror(processes, directory, servers, list(regions[0].own))
        for region in regions:
            region.start_consumer()
        yield regions[0], regions[1]
    finally:
        await asyncio.to_thread(exits.close)


def _database(testbed: Testbed, name: str) -> AbstractContextManager[Database]:
    return new_database(testbed.stack, f"{testbed.database.name}_{name}", testbed.template)
