"""Totals of the fleet for its summary: a request must not count half a million vehicles."""

from typing import Any

from sql.analytics.fleet import HISTOGRAM_BOUNDS, REPORTING_WITHIN
from sql.queries import queries


async def store_fleet_totals(connection: Any) -> None:
    """Count and sum the evaluated vehicles, and count the devices.

    Args:
        connection: of the schema's owner, not in a transaction.
    """
    async with connection.transaction():
        await queries.delete_evaluation_totals(connection)
        await queries.insert_evaluation_totals(connection, bounds=HISTOGRAM_BOUNDS)
    await queries.store_device_totals(connection, reporting_within=REPORTING_WITHIN)
