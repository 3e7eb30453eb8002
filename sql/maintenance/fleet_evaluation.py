"""Fleet evaluation, every minute: energy of 24 hours -> status -> fault opened or closed -> alert in the outbox.

Each batch of vehicles is one transaction, so evaluations, faults and alerts are stored together.
"""

from collections.abc import Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, Final, Literal
from uuid import uuid4

import msgspec
import structlog

from schemas.records.alerts import Alert
from sql.analytics.efficiency import WINDOW, Efficiency, EnergySums, Thresholds, assess_efficiency
from sql.analytics.fault_state import FaultState, Hysteresis, next_state
from sql.maintenance.carried_sums import Carrying, begin_round, window_energy
from sql.queries import queries, vehicle_id_batches

log = structlog.get_logger(__name__)

VEHICLES_PER_TRANSACTION: Final = 5_000
Connection = Any  # asyncpg.Connection
_vehicle_id = attrgetter("vehicle_id")


class Evaluation(msgspec.Struct, frozen=True, gc=False):
    """One vehicle: its row of `energy_of`, efficiency, fault state before and after. `fault_id` is that of the open fault."""

    row: Any
    efficiency: Efficiency
    before: FaultState
    after: FaultState
    fault_id: int | None

    @property
    def vehicle_id(self) -> str:
        return str(self.row["vehicle_id"])


async def evaluate_fleet(connection: Connection, now: datetime, thresholds: Thresholds, rules: Hysteresis) -> int:
    """Evaluate every vehicle over the 24 hours up to the current minute; returns how many were evaluated.

    A vehicle is evaluated at most once a minute, however often this is called.
    """
    end = now.replace(second=0, microsecond=0)
    window = await begin_round(connection, end - WINDOW, end)
    carrying, evaluated = Carrying(connection, window), 0
    async for vehicle_ids in vehicle_id_batches(connection, VEHICLES_PER_TRANSACTION):
        states = {row["vehicle_id"]: row async for row in queries.fault_states(connection, vehicle_ids=vehicle_ids)}
        # One that ends later is of a clock that was ahead.
        due = [each for each in vehicle_ids if states[each]["window_end"] != end]
        carried, rest = await window_energy(connection, due, window)
        evaluations = [_evaluation(row, states[row["vehicle_id"]], thresholds, rules) for row in (*carried, *rest)]
        evaluations.sort(key=_vehicle_id)
        async with connection.transaction():
            await _store(connection, evaluations, end)
            alerts = await _open_and_close_faults(connection, evaluations, end, thresholds, rules)
        for alert in alerts:
            log.info(alert.event, vehicle_id=alert.vehicle_id, ratio=alert.efficiency_ratio, fault_id=alert.fault_id)
        await carrying.carry(vehicle_ids, carried, rest)
        evaluated += len(evaluations)
    await queries.delete_stale_evaluations(connection, window_end=end)
    return evaluated


def _evaluation(row: Any, stored: Any, thresholds: Thresholds, rules: Hysteresis) -> Evaluation:
    efficiency = assess_efficiency(EnergySums.from_row(row), thresholds)
    fault_id = stored["fault_id"]
    before = FaultState(stored["faulty_in_a_row"], stored["sound_in_a_row"], is_open=fault_id is not None)
    after = next_state(before, efficiency.status, efficiency.ratio, rules)
    return Evaluation(row, efficiency, before, after, fault_id)


async def _store(connection: Connection, evaluations: Sequence[Evaluation], end: datetime) -> None:
    rows = [each.row for each in evaluations]
    await queries.store_evaluations(
        connection,
        window_end=end,
        vehicle_ids=[row["vehicle_id"] for row in rows],
        assigned_seconds=[row["assigned_seconds"] for row in rows],
        ac_kwhs=[row["ac_kwh"] for row in rows],
        dc_kwhs=[row["dc_kwh"] for row in rows],
        dc_kwhs_assigned=[row["dc_kwh_assigned"] for row in rows],
        ac_points=[row["ac_points"] for row in rows],
        dc_points=[row["dc_points"] for row in rows],
        dc_points_assigned=[row["dc_points_assigned"] for row in rows],
        ac_kwhs_compared=[row["ac_kwh_compared"] for row in rows],
        dc_kwhs_compared=[row["dc_kwh_compared"] for row in rows],
        temperatures=[row["average_battery_temp"] for row in rows],
        ratios=[each.efficiency.ratio for each in evaluations],
        ac_coverages=[each.efficiency.ac_coverage for each in evaluations],
        dc_coverages=[each.efficiency.dc_coverage for each in evaluations],
        statuses=[each.efficiency.status for each in evaluations],
        reasons=[each.efficiency.reason for each in evaluations],
        faulty=[each.after.faulty_streak for each in evaluations],
        sound=[each.after.recovered_streak for each in evaluations],
    )


async def _open_and_close_faults(
    connection: Connection, evaluations: Sequence[Evaluation], end: datetime, thresholds: Thresholds, rules: Hysteresis
) -> list[Alert]:
    """Store the faults that open, close or get worse; returns the alerts of those that open or close, which are in the outbox."""
    opening = [each for each in evaluations if each.after.is_open and not each.before.is_open]
    closing = [each for each in evaluations if each.before.is_open and not each.after.is_open]
    still_faulty = [each for each in evaluations if each.before.is_open and each.efficiency.status == "faulty"]
    await queries.record_lowest_ratio(
        connection,
        fault_ids=[each.fault_id for each in still_faulty],
        ratios=[each.efficiency.ratio for each in still_faulty],
    )
    vehicle_ids = [each.vehicle_id for each in opening]
    rows = queries.assigned_meters(connection, vehicle_ids=vehicle_ids, opens=end - WINDOW, closes=end)
    meters = {row["vehicle_id"]: row["meter_ids"] async for row in rows}
    alerts: list[Alert] = []
    for each in opening:
        meter_ids = meters.get(each.vehicle_id, [])
        opened = await queries.open_fault(
            connection, vehicle_id=each.vehicle_id, meter_ids=meter_ids, **_measured(each, end)
        )
        alerts.append(_alert("fault_opened", each, opened["fault_id"], meter_ids, end, thresholds.fault_below))
    for each in closing:
        closed = await queries.close_fault(connection, fault_id=each.fault_id, **_measured(each, end))
        alerts.append(_alert("fault_closed", each, closed["fault_id"], closed["meter_ids"], end, rules.close_from))
    for alert in alerts:
        await queries.insert_alert(connection, key=alert.vehicle_id, value=msgspec.json.encode(alert).decode())
    return alerts


def _measured(evaluation: Evaluation, end: datetime) -> dict[str, Any]:
    return {
        "at": end,
        "ratio": evaluation.efficiency.ratio,
        "ac_kwh": evaluation.row["ac_kwh_compared"],
        "dc_kwh": evaluation.row["dc_kwh_compared"],
    }


def _alert(
    event: Literal["fault_opened", "fault_closed"],
    evaluation: Evaluation,
    fault_id: int,
    meter_ids: list[str],
    end: datetime,
    threshold: float,
) -> Alert:
    return Alert(
        event_id=str(uuid4()),  # not derived from a sequence: a restored database would give out the same ids again
        event=event,
        fault_id=fault_id,
        vehicle_id=evaluation.vehicle_id,
        meter_ids=meter_ids,
        at=end,
        efficiency_ratio=evaluation.efficiency.ratio or 0.0,
        energy_consumed_ac=evaluation.row["ac_kwh_compared"],
        energy_delivered_dc=evaluation.row["dc_kwh_compared"],
        window_start=end - WINDOW,
        window_end=end,
        threshold_percent=threshold,
    )
