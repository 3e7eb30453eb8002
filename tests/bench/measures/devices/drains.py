"""The same number of records of few devices and of many: what a device in a batch costs."""

import asyncio
from collections.abc import Iterator
from typing import Final

import msgspec

from deploy.sizing.model import partitions_of
from tests.bench.instruments.drain_run import WAL_BYTES, DrainRun, drain_backlog
from tests.bench.instruments.results import Result
from tests.bench.setup.backlog import Backlog, produce_backlog
from tests.bench.setup.harness import Harness

DEVICES: Final = (20_000, 200_000, 1_000_000)  # half of them vehicles
RECORDS: Final = 4_000_000
# With fewer records, one consumer is done before the other has its partitions, and some of a million devices have no reading.
FEWEST_RECORDS: Final = 1_000_000


def measure_drains(harness: Harness) -> Iterator[Result]:
    """Rate of one consumer for each number of devices, with its ratio to the fewest; CPU, memory and log in the details.

    The order alternates from run to run.
    """
    records = harness.scaled(RECORDS, minimum=FEWEST_RECORDS)
    backlogs = {
        devices: produce_backlog(harness, records // devices, vehicles=devices // 2, partitions=partitions_of(devices))
        for devices in DEVICES
    }
    for run in range(1, harness.runs + 1):
        order = DEVICES if run % 2 else tuple(reversed(DEVICES))
        results = {devices: _drain_by_one_and_two(harness, devices, backlogs[devices], run) for devices in order}
        fewest = results[DEVICES[0]].value
        for devices in DEVICES:
            result = results[devices]
            yield msgspec.structs.replace(result, ratio=round(result.value / fewest, 4))


def _drain_by_one_and_two(harness: Harness, devices: int, backlog: Backlog, run: int) -> Result:
    one, one_details = _drain(harness, backlog, 1)
    two, two_details = _drain(harness, backlog, 2)
    harness.log_progress(f"{devices:,} devices, run {run}: {one.rate:,.0f} records/s by one, {two.rate:,.0f} by two")
    return Result(
        measure=f"devices_{devices}",
        value=round(one.rate),
        unit="records/s",
        run=run,
        details={"records": backlog.records, "two_records_per_second": round(two.rate)}
        | one_details
        | {f"two_{name}": value for name, value in two_details.items()},
    )


def _drain(harness: Harness, backlog: Backlog, consumers: int) -> tuple[DrainRun, dict[str, float]]:
    with harness.empty_database() as database:
        wal_before = asyncio.run(database.value(WAL_BYTES))
        drained = drain_backlog(harness, backlog, database, consumers=consumers)
        wal = asyncio.run(database.value(WAL_BYTES)) - wal_before
    return drained, drained.cpu | {
        "replica_rss_mib": drained.timeline.peak_memory_mib(0, backlog.records),
        "wal_bytes_per_reading": round(wal / backlog.readings, 1),
    }
