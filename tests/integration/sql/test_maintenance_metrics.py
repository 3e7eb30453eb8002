"""Metrics of maintenance and of the database, over HTTP."""

import asyncio
import itertools
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from deploy.stack.postgres import Postgres
from deploy.stack.processes import Processes
from sql.maintenance.database_metrics import count_dead_letters, measure
from sql.maintenance.metrics import MaintenanceMetrics
from sql.maintenance.scheduler import TASKS, maintain_once
from sql.queries import queries
from sql.settings import MaintainSettings
from tests.support.database import Database
from tests.support.database_rows import insert_evaluation, insert_fault
from tests.support.records import NOON
from tests.support.repository import ROOT
from tests.support.responses import http_client
from tests.support.services import ConsumerProcess
from tests.support.standby import paused_replay
from tests.support.waiting import until

pytestmark = pytest.mark.anyio
Samples = dict[tuple[str, ...], float]
WAITS_FOR_LOCK = (
    "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


@pytest.fixture
async def start_maintenance(
    database: Database, processes: Processes, environment: dict[str, str], tmp_path: Path
) -> "Start":
    numbers = itertools.count(1)

    async def start() -> Maintenance:
        settings = {
            "DATABASE_URL": database.migrator_url,
            "MAINTAIN_INTERVAL_SECONDS": "1",
            "MAINTAIN_METRICS_PORT": "0",
        }
        log = tmp_path / f"maintain-{next(numbers)}.log"
        command = [sys.executable, "-m", "sql", "maintain"]
        started = ConsumerProcess(processes.start(command, log=log, env=environment | settings, cwd=ROOT), log)
        port = (await started.until_logged("maintenance_started"))["metrics_port"]
        return Maintenance(f"http://127.0.0.1:{port}/metrics", started)

    return start


@pytest.fixture
async def maintenance(start_maintenance: "Start") -> "Maintenance":
    return await start_maintenance()


class Maintenance:
    """A running `python -m sql maintain`."""

    def __init__(self, address: str, process: ConsumerProcess) -> None:
        self.address = address
        self.process = process

    async def samples(self) -> Samples:
        """Every sample by its name and label values, in the order of the label names."""
        async with http_client() as client:
            text = (await client.get(self.address)).text
        families = text_string_to_metric_families(text)
        return {
            (sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples
        }

    async def until(self, *name: str, **expected: Any) -> Samples:
        """All samples, once the one with this name and labels exists and has the value, or is at least `least`."""

        async def as_expected() -> Samples | None:
            samples = await self.samples()
            value = samples.get(name)
            if value is None or ("value" in expected and value != expected["value"]):
                return None
            return samples if value >= expected.get("least", value) else None

        samples = await until(as_expected, f"{name} is {expected or 'there'}")
        assert samples
        return samples


Start = Callable[[], Awaitable[Maintenance]]


async def test_every_task_exposes_its_last_success(maintenance: Maintenance) -> None:
    for task in TASKS:
        samples = await maintenance.until("energy_maintenance_last_success_timestamp_seconds", task, least=1e9)
    assert {samples["energy_maintenance_failures_total", task] for task in TASKS} == {0}


async def test_a_second_process_exposes_the_successes_of_the_first(
    maintenance: Maintenance, start_maintenance: Start, processes: Processes, database: Database
) -> None:
    succeeded = "energy_maintenance_last_success_timestamp_seconds"
    for task in TASKS:
        before = await maintenance.until(succeeded, task, least=1e9)
    processes.stop(maintenance.process.process)
    await database.execute("DELETE FROM maintenance_runs WHERE task = 'folding'")
    await database.execute("INSERT INTO maintenance_runs (task, succeeded_at) VALUES ('of an older release', now())")
    connection = await asyncpg.connect(database.migrator_url)
    try:  # as a third process would, so that the second one stands by for the hourly tasks
        await connection.execute("SELECT pg_advisory_lock(hashtext('energy.housekeeping'))")
        second = await start_maintenance()
        samples = await second.until(succeeded, "retention", least=1e9)
        assert samples[succeeded, "retention"] == pytest.approx(before[succeeded, "retention"], abs=5)
        samples = await second.until(succeeded, "rollups", least=before[succeeded, "rollups"] + 0.5)
        assert samples[succeeded, "folding"] == 0, "a task that never succeeded is visible"
        assert {key[1] for key in samples if key[0] == succeeded} == set(TASKS)
        assert ("energy_maintenance_task_seconds", "retention") not in samples
    finally:
        await connection.close()


async def test_a_replica_that_does_not_replay_has_lag_in_bytes(
    maintenance: Maintenance, database: Database, standby: Postgres
) -> None:
    await maintenance.until("energy_replicas_connected", value=1)
    async with paused_replay(standby, database):
        await database.execute("CREATE TABLE written AS SELECT repeat('x', 1000) FROM generate_series(1, 1000)")
        await maintenance.until("energy_replica_lag_bytes", least=1e6)
    await maintenance.until("energy_replica_lag_bytes", value=0)
    await asyncio.to_thread(standby.kill)
    await maintenance.until("energy_replicas_connected", value=0)


async def test_a_failed_task_is_counted_and_the_others_run(maintenance: Maintenance, database: Database) -> None:
    succeeded = "energy_maintenance_last_success_timestamp_seconds"
    await database.execute("ALTER TABLE vehicle_trends RENAME TO gone")
    before = await maintenance.until("energy_maintenance_failures_total", "trends", least=1)
    later = before[succeeded, "dead_letters"] + 1
    after = await maintenance.until(succeeded, "dead_letters", least=later)
    assert after[succeeded, "trends"] < after[succeeded, "dead_letters"] - 0.5


async def test_an_error_of_our_own_code_fails_its_task_alone(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        raise TypeError("of our own code")

    monkeypatch.setitem(TASKS, "evaluation", broken)
    reported: list[str] = []
    settings = MaintainSettings(database_url=SecretStr(database.migrator_url))
    assert not await maintain_once(settings, MaintenanceMetrics(), reported.append)
    assert [line.partition(",")[0] for line in reported if "done" not in line] == ["evaluation: failed"]
    assert len(reported) == len(TASKS)
    stored = await database.fetch("SELECT task, error FROM maintenance_runs WHERE failed_at IS NOT NULL")
    assert [tuple(row) for row in stored] == [("evaluation", "internal error: TypeError('of our own code')")]


async def test_the_database_is_measured(maintenance: Maintenance, database: Database) -> None:
    await insert_evaluation(database, "VEH-001", NOON)
    await insert_fault(database, "VEH-001", NOON)
    samples = await maintenance.until("energy_faults_open", value=1)
    assert samples["energy_database_answers",] == 1
    assert ("energy_vehicles_judged",) in samples
    assert samples["energy_folding_lag_days",] == 0
    assert samples["energy_database_bytes",] > 1e6
    assert samples["energy_replica_lag_seconds",] == samples["energy_replicas_connected",] == 0
    samples = await maintenance.until("energy_partitions_ahead_seconds", least=14 * 86_400.0)
    assert abs(samples[("energy_database_clock_offset_seconds",)]) < 5
    assert samples[("energy_oldest_snapshot_transactions",)] >= 0
    tables = {key[1] for key in samples if key[0] == "energy_table_bytes"}
    assert {"meter_telemetry_history", "dead_letters", "vehicle_live_status"} <= tables
    assert not any("_y20" in table for table in tables), "partitions are included in their table"
    assert samples["energy_table_bytes", "meter_telemetry_history"] > 0


async def test_a_gap_between_partitions_ends_the_time_ahead(database: Database) -> None:
    connection = await asyncpg.connect(database.migrator_url, server_settings={"timezone": "UTC"})
    month = await database.value("SELECT date_trunc('month', now()) + interval '1 month'")
    long_ago = month - timedelta(days=1000)

    async def seconds_after(instant: datetime) -> float:
        ahead = (await queries.measure_database(connection, fold_after_days=3))["partitions_ahead_seconds"]
        return (datetime.now(UTC) + timedelta(seconds=ahead) - instant).total_seconds()

    assert await seconds_after(month) > 27 * 86_400
    await connection.execute(f"ALTER TABLE meter_energy_hourly DETACH PARTITION meter_energy_hourly_y{month:%Ym%m}")
    assert abs(await seconds_after(month)) < 60, "the next one does not count"
    await connection.execute("UPDATE rollup_state SET folding_before = $1", long_ago)
    assert abs(await seconds_after(long_ago)) < 60, "a late reading has no partition"
    await connection.close()


async def test_a_deleted_dead_letter_is_a_ledger_mismatch(maintenance: Maintenance, database: Database) -> None:
    await database.execute(
        "INSERT INTO kafka_offsets (consumer_group, topic, partition, start_offset, next_offset, records_consumed, "
        "records_written, records_dead_lettered) VALUES ('g', 'meter-readings', 0, 0, 3, 3, 1, 2)"
    )
    await database.execute(
        'INSERT INTO dead_letters (consumer_group, topic, partition, "offset", kafka_timestamp, reason, detail) '
        "SELECT 'g', 'meter-readings', 0, number, now(), 'not_json', 'for the test' FROM generate_series(1, 2) AS number"
    )
    samples = await maintenance.until("energy_dead_letters_unresolved", "not_json", "meter-readings", value=2)
    await maintenance.until("energy_ledger_mismatch_records", "meter-readings", value=0)
    await database.execute('DELETE FROM dead_letters WHERE "offset" = 1')
    samples = await maintenance.until("energy_ledger_mismatch_records", "meter-readings", value=1)
    assert samples["energy_dead_letters_unresolved", "not_json", "meter-readings"] == 1


async def test_outdated_numbers_disappear_when_the_database_cannot_be_measured(
    maintenance: Maintenance, database: Database
) -> None:
    await maintenance.until("energy_database_answers", value=1)
    await database.execute("ALTER TABLE efficiency_faults RENAME TO gone")
    samples = await maintenance.until("energy_database_answers", value=0)
    assert not any(name == "energy_database_bytes" for name, *_ in samples)
    await database.execute("ALTER TABLE gone RENAME TO efficiency_faults")
    await maintenance.until("energy_database_answers", value=1)


async def test_the_newest_reading_is_measured_with_the_counts_because_it_takes_a_scan_of_live_status(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = SecretStr(database.migrator_url)
    assert (await count_dead_letters(url))["newest_reading_age_seconds"] == [], "there is no reading"
    await database.execute("INSERT INTO meter_live_status VALUES ('METER-1', 1, 230, now() - interval '1 hour', now())")
    ((age,),) = (await count_dead_letters(url))["newest_reading_age_seconds"]
    assert 3600 <= age < 3900

    def scan(_: Any) -> None:
        raise AssertionError("live status was read")

    monkeypatch.setattr(queries, "newest_reading", scan)
    measured = await measure(url, 3)
    assert abs(measured.numbers["database_clock_offset_seconds"] or 0.0) < 5


async def test_a_table_that_is_dropped_while_it_is_measured_breaks_no_metric(database: Database) -> None:
    await database.execute("CREATE TABLE dropped (number integer)")
    connection = await asyncpg.connect(database.migrator_url)
    try:
        async with connection.transaction():
            await connection.execute("DROP TABLE dropped")
            measuring = asyncio.create_task(measure(SecretStr(database.migrator_url), 3))
            await until(lambda: database.value(WAITS_FOR_LOCK), "the measurement waits for the table")
        sizes: dict[str, int] = dict((await measuring).tables["table_bytes"])
    finally:
        await connection.close()
    assert sizes["dropped"] == 0
    assert sizes["meter_telemetry_history"] > 0
