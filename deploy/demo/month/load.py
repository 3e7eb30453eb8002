"""One transaction: days of the simulator -> folded days, their entry in the ledger, and the watermarks."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

from deploy.simulator.days import equal_days
from deploy.simulator.fleet import Fleet, Vehicle, vehicle
from schemas.config.settings import KafkaSettings
from sql.partitions import wait_for_writers
from sql.queries import queries

CREATE, FOLD, COUNT = (Path(__file__).with_name(f"{name}.sql").read_text() for name in ("create", "fold", "count"))
VALUES: Final = ("ac_kwh", "voltage", "dc_kwh", "soc", "battery_temp")
STATEMENT_SECONDS: Final = 300.0
Connection = Any  # asyncpg.Connection


async def load_days(connection: Connection, fleet: Fleet, vehicles: int, until: datetime, days: int) -> int:
    """Store whole days of the first vehicles of a fleet, and of their meters, as folded history.

    Args:
        connection: of the schema's owner, not in a transaction. No reading is stored, and no consumer runs.
        fleet: the simulated fleet.
        vehicles: how many of its vehicles.
        until: the midnight (UTC) at which the days end; from then on, readings are rows. Not before folded_before.
        days: how many days.

    Returns:
        The number of readings, of both sides together.
    """
    dates = [until.astimezone(UTC).date() - timedelta(days=back) for back in range(days, 0, -1)]
    topics = KafkaSettings()
    async with connection.transaction():
        await connection.execute("SET LOCAL timezone = 'UTC'")
        await connection.execute(CREATE)
        records = (record for number in range(1, vehicles + 1) for record in _records(vehicle(fleet, number), dates))
        await connection.copy_records_to_table("simulated_days", records=records)
        await connection.execute(FOLD, timeout=STATEMENT_SECONDS)
        readings = await connection.fetchval(COUNT, [topics.meter_topics[0], topics.vehicle_topics[0]])
        await _move_watermarks(connection, until)
    return int(readings)


def _records(one: Vehicle, dates: Sequence[date]) -> Iterator[tuple[Any, ...]]:
    """Rows of simulated_days."""
    phase = timedelta(milliseconds=one.phase_ms)
    for equal in equal_days(one, dates):
        first_at = [datetime.combine(day, time(), UTC) + phase for day in equal.days]
        values = (list(map(attrgetter(name), equal.states)) for name in VALUES)
        yield one.meter_id, one.vehicle_id, first_at, *values


async def _move_watermarks(connection: Connection, instant: datetime) -> None:
    """What is older is folded: its hours are complete, and readings that arrive for it are late readings."""
    await wait_for_writers(connection)
    await queries.move_late_before(connection, instant=instant)
    await queries.move_complete_before(connection, instant=instant)
    await queries.move_folding_before(connection, instant=instant)
    await queries.move_folded_before(connection, instant=instant)
