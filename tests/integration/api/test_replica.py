"""Reads from a real standby: staleness, and failover when it falls behind, stops, freezes and recovers."""

import asyncio
from typing import Any

import httpx
import psutil
import pytest
from prometheus_client import CollectorRegistry, Counter
from pydantic import SecretStr

from api.database.replica import MonitoredServer, ReplicaMonitor, ServerProbe
from api.database.routing import ReadRouter, ReadSource
from deploy.stack.postgres import Postgres
from sql.connection import READER_SETTINGS, pool
from tests.support.database import Database
from tests.support.records import minute, vehicle
from tests.support.responses import StartApi, body, problem
from tests.support.standby import fetch_from_standby, paused_replay
from tests.support.waiting import until

pytestmark = pytest.mark.anyio
LIMIT = "5"


@pytest.fixture
def start_api_with_replica(start_api: StartApi, standby: Postgres, database: Database) -> StartApi:
    """Starts a read service that reads from the standby."""

    def start(fallback: str) -> httpx.Client:
        return start_api(
            DATABASE_READ_URL=standby.url("reader", database.name),
            DATABASE_URL=database.reader_url,
            DATABASE_READ_FALLBACK=fallback,
            READ_STALENESS_LIMIT_SECONDS=LIMIT,
        )

    return start


async def get_vehicle(client: httpx.Client) -> httpx.Response:
    return await asyncio.to_thread(client.get, "/v1/vehicles/VEH-001")


async def reads_from(client: httpx.Client, source: str, soc: int | None = None) -> httpx.Response:
    """The first response that was read from this source and has this state of charge."""

    async def found() -> list[httpx.Response]:
        response = await get_vehicle(client)
        if response.headers.get("data-source") != source or response.status_code != 200:
            return []
        return [response] if soc is None or response.json()["soc"] == soc else []

    return (await until(found, f"a response is read from the {source}"))[0]


def metric(client: httpx.Client, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith(name)))


async def test_response_headers_name_the_replica_and_its_staleness(
    start_api_with_replica: StartApi, write: Any, database: Database
) -> None:
    client = start_api_with_replica("fail")
    await write(vehicle=[vehicle(soc=70)])
    found = await reads_from(client, "replica", soc=70)
    assert 0 <= float(found.headers["data-staleness-seconds"]) < float(LIMIT)

    # The primary is idle from here on: the age of its last commit grows, the staleness of the replica does not.
    last_commit = await database.value("SELECT now()")

    async def idle_for_longer_than_the_limit() -> bool:
        response = await get_vehicle(client)
        assert (response.status_code, response.headers["data-source"]) == (200, "replica")
        return bool((await database.value("SELECT now()") - last_commit).total_seconds() > 2 * float(LIMIT))

    await until(idle_for_longer_than_the_limit, "the primary was idle for a while", every=0.5)
    ready = body(client.get("/readyz"))
    assert (ready["dataSource"], ready["waitingFor"].get("replica")) == ("replica", None)
    assert ready["dataStalenessSeconds"] < float(LIMIT)
    assert metric(client, "energy_api_replica_lag_seconds") < float(LIMIT)
    assert metric(client, "energy_api_replica_up") == 1


async def test_a_replica_that_is_too_far_behind_is_not_read_from(
    start_api_with_replica: StartApi, write: Any, standby: Postgres, database: Database
) -> None:
    strict, falls_back = start_api_with_replica("fail"), start_api_with_replica("primary")
    await write(vehicle=[vehicle(soc=70)])
    for client in (strict, falls_back):
        await reads_from(client, "replica", soc=70)
    async with paused_replay(standby, database):
        await write(vehicle=[vehicle(at=minute(1), soc=71)])
        ages = []

        async def too_old() -> bool:
            response = await get_vehicle(strict)
            if response.status_code == 503:
                assert "READ_STALENESS_LIMIT_SECONDS=5" in problem(response, 503)["detail"]
                assert "DATABASE_READ_URL" in problem(response, 503)["detail"]
                assert response.headers["retry-after"]
                return True
            assert (response.json()["soc"], response.headers["data-source"]) == (70, "replica")
            ages.append(float(response.headers["data-staleness-seconds"]))
            return False

        await until(too_old, "the replica is too stale")
        assert ages[0] < ages[-1] <= float(LIMIT), "its staleness grew before"
        found = await reads_from(falls_back, "primary", soc=71)
        assert found.headers["data-staleness-seconds"] == "0.0"
        assert "behind" in body(falls_back.get("/readyz"))["waitingFor"]["replica"]
        assert strict.get("/readyz").status_code == 503
        assert metric(falls_back, "energy_api_replica_lag_seconds") > float(LIMIT)
    for client in (strict, falls_back):
        await reads_from(client, "replica", soc=71)
        assert "replica" not in body(client.get("/readyz"))["waitingFor"]


async def test_a_crashed_replica_is_not_read_from_until_it_has_recovered(
    start_api_with_replica: StartApi, write: Any, standby: Postgres
) -> None:
    strict, falls_back = start_api_with_replica("fail"), start_api_with_replica("primary")
    await write(vehicle=[vehicle(soc=70)])
    for client in (strict, falls_back):
        await reads_from(client, "replica", soc=70)

    await asyncio.to_thread(standby.kill)

    response = await get_vehicle(falls_back)
    assert (response.status_code, response.headers["data-source"]) == (200, "primary"), "no request is lost"
    assert "DATABASE_READ_URL" in problem(await get_vehicle(strict), 503)["detail"]
    assert strict.get("/readyz").status_code == 503
    assert "DATABASE_READ_URL" in body(falls_back.get("/readyz"))["waitingFor"]["replica"]
    assert metric(falls_back, "energy_api_replica_up") == 0

    await asyncio.to_thread(standby.start)
    for client in (strict, falls_back):
        await reads_from(client, "replica", soc=70)


async def test_a_frozen_replica_does_not_freeze_the_service(
    start_api_with_replica: StartApi, write: Any, standby: Postgres
) -> None:
    client = start_api_with_replica("primary")
    await write(vehicle=[vehicle(soc=70)])
    await reads_from(client, "replica", soc=70)
    assert standby.process
    family = [psutil.Process(standby.process.pid), *standby.process.children(recursive=True)]
    for each in family:
        each.suspend()
    try:
        responses = await asyncio.gather(*(get_vehicle(client) for _ in range(5)))
        assert {each.status_code for each in responses} == {200}, [each.text for each in responses]
        assert {each.headers["data-source"] for each in responses} == {"primary"}, "including requests in progress"
    finally:
        for each in reversed(family):
            each.resume()
    await reads_from(client, "replica", soc=70)


async def test_a_statement_that_conflicts_with_recovery_is_repeated_on_the_primary(
    standby: Postgres, database: Database
) -> None:
    sleeps_on_a_standby = (
        "SELECT pg_is_in_recovery(), CASE WHEN pg_is_in_recovery() THEN pg_sleep(120)::text END "
        "FROM (SELECT count(*) FROM vehicle_live_status) AS counted"
    )

    def connections(url: str) -> Any:
        return pool(
            SecretStr(url), size=2, server_settings=READER_SETTINGS | {"statement_timeout": "0"}, command_timeout=130
        )

    url = standby.url("reader", database.name)
    async with connections(url) as there, connections(database.reader_url) as here:
        replica = ReplicaMonitor(
            MonitoredServer("A", ServerProbe(there)), MonitoredServer("B", ServerProbe(here)), limit_seconds=60
        )

        async def may_be_read() -> bool:
            await replica.check()
            return replica.problem() is None

        await until(may_be_read, "the replica may be read from")
        counter = Counter("reads", "Reads", ("source",), registry=CollectorRegistry())
        reads = ReadRouter(ReadSource("primary", "B", here), ReadSource("replica", "A", there), replica, counter)
        async with reads.acquire() as reader:
            assert await reader.fetchval("SELECT pg_is_in_recovery()")
            asking = asyncio.create_task(reader.fetchrow(sleeps_on_a_standby))
            sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
            await until(lambda: fetch_from_standby(standby, database, sleeping), "the replica runs the statement")
            await database.execute("ALTER TABLE vehicle_live_status ADD COLUMN another int")
            assert tuple(await asking) == (False, None)
        assert replica.is_up, "a conflict is not an outage"
