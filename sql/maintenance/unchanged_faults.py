"""Evaluation within the database: of the vehicles whose fault neither opens, closes nor gets worse, which are nearly all of them.

Their rows are neither sent to this process nor back. The other vehicles are left to fleet_evaluation.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sql.analytics.efficiency import DEGRADED, FAULTY, HEALTHY, NO_ENERGY, WINDOW, Thresholds
from sql.analytics.fault_state import Hysteresis
from sql.maintenance.carried_sums import Window
from sql.queries import queries

Connection = Any  # asyncpg.Connection


@dataclass(frozen=True, slots=True)
class Round:
    """A round of evaluation. `token` makes sessions store nothing once another process has begun a round."""

    window: Window
    token: UUID
    thresholds: Thresholds
    rules: Hysteresis


async def evaluate_unchanged(connection: Connection, vehicle_ids: Sequence[str], of: Round) -> Any:
    """Evaluate those of these vehicles, given in ascending order, that the query `evaluate_unchanged` covers.

    Returns their number (`vehicles`), how far the sums of all of them are carried (`carried_to`, seconds since 1970; None: there
    was none), and the ids of the `others`.
    """
    window, thresholds, rules = of.window, of.thresholds, of.rules
    async with connection.transaction():
        await queries.plan_for_these_vehicles(connection)
        return await queries.evaluate_unchanged(
            connection,
            token=of.token,
            vehicle_ids=vehicle_ids,
            hour=window.hour,
            opens=window.opens,
            closes=window.closes,
            carried_from=window.carried_from,
            fault_below=thresholds.fault_below,
            degraded_below=thresholds.degraded_below,
            min_energy=thresholds.min_energy_kwh,
            min_coverage=thresholds.min_coverage,
            most_apart=thresholds.most_readings_apart(WINDOW.total_seconds()),
            no_energy=NO_ENERGY,
            faulty=FAULTY.format(thresholds.fault_below),
            degraded=DEGRADED.format(thresholds.degraded_below),
            healthy=HEALTHY.format(thresholds.degraded_below),
            open_after=rules.open_after,
            close_after=rules.close_after,
            close_from=rules.close_from,
        )
