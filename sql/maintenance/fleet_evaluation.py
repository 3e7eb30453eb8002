"""Fleet evaluation, every minute: energy of 24 hours -> status -> fault opened or closed -> alert in the outbox.

Each batch of vehicles is one transaction, so evaluations, faults and alerts are stored together.
"""

from collections.abc import Sequence
from contextlib import aclosing
from datetime import datetime
from operator import itemgetter
from typing import Any, Final, Literal
from uuid import uuid4

import msgspec
import structlog

from schemas.records.alerts import Alert
from sql.analytics.efficiency import WINDOW, Efficiency, EnergySums, Thresholds, assess_efficiency
from sql.analytics.fault_state import FaultState, Hysteresis, next_state
from sql.maintenance.carried_sums import Carrying, begin_round
from sql.maintenance.fleet_reading import read_batches
from sql.maintenance.unchanged_faults import Round
from sql.queries import queries

log = structlog.get_logger(__name__)

WINDOW_SECONDS: Final = WINDOW.total_seconds()
# Parameters of the queries that store evaluations, and the columns of energy_of that they are.
STORED_COLUMNS: Final = {
    "vehicle_ids": itemgetter("vehicle_id"),
    "assigned_seconds": itemgetter("assigned_seconds"),
    "ac_kwhs": itemgetter("ac_kwh"),
    "dc_kwhs": itemgetter("dc_kwh"),
    "dc_kwhs_assigned": itemgetter("dc_kwh_assigned"),
    "ac_points": itemgetter("ac_points"),
    "dc_points": itemgetter("dc_points"),
    "dc_points_assigned": itemgetter("dc_points_assigned"),
    "ac_kwhs_compared": itemgetter("ac_kwh_compared"),
    "dc_kwhs_compared": itemgetter("dc_kwh_compared"),
    "temperatures": itemgetter("average_battery_temp"),
}
Connection = Any  # asyncpg.Connection


class Evaluation(msgspec.Struct, frozen=True, gc=False):
    """One vehicle: its row of `energy_of`, efficiency, fault state before and after.

    `fault_id` is that of the open fault. `known`: the vehicle has been evaluated before.
    """

    row: Any
    efficiency: Efficiency
    before: FaultState
    after: FaultState
    fault_id: int | None
    known: bool

    @property
    def vehicle_id(self) -> str:
        return str(self.row["vehicle_id"])


async def evaluate_fleet(
    connection: Connection,
    now: datetime,
    thresholds: Thresholds,
    rules: Hysteresis,
    readers: Sequence[Connection] = (),
) -> int:
    """Evaluate every vehicle over the 24 hours up to the current minute; returns how many were evaluated.

    A vehicle is evaluated at most once a minute, however often this is called. `readers` are further sessions, which read the
    next vehicles, and evaluate those whose fault does not change, while `connection` stores others.
    """
    end = now.replace(second=0, microsecond=0)
    window = await begin_round(connection, end - WINDOW, end)
    current = Round(window, await queries.begin_evaluation(connection), thresholds, rules)
    carrying, evaluated = Carrying(connection, window), 0
    async with aclosing(read_batches(connection, current, readers)) as batches:
        async for batch in batches:
            rows = batch.energy()
            evaluations = [_evaluation(row, batch.states[row["vehicle_id"]], thresholds, rules) for row in rows]
            async with connection.transaction():
                await _store(connection, queries.update_evaluations, [each for each in evaluations if each.known], end)
                await _store(
                    connection, queries.insert_evaluations, [each for each in evaluations if not each.known], end
                )
                alerts = await _open_and_close_faults(connection, evaluations, end, thresholds, rules)
            for alert in alerts:
                log.info(
                    alert.event, vehicle_id=alert.vehicle_id, ratio=alert.efficiency_ratio, fault_id=alert.fault_id
                )
            await carrying.carry(batch.vehicle_ids, batch.carried_to(), batch.rest)
            evaluated += batch.unchanged["vehicles"] + len(evaluations)
    await queries.delete_stale_evaluations(connection, window_end=end)
    return evaluated


def _evaluation(row: Any, stored: Any, thresholds: Thresholds, rules: Hysteresis) -> Evaluation:
    efficiency = assess_efficiency(EnergySums.of_window(row, WINDOW_SECONDS), thresholds)
    fault_id = stored["fault_id"]
    before = FaultState(stored["faulty_in_a_row"], stored["sound_in_a_row"], is_open=fault_id is not None)
    after = next_state(before, efficiency.status, efficiency.ratio, rules)
    return Evaluation(row, efficiency, before, after, fault_id, stored["known"])


async def _store(connection: Connection, query: Any, evaluations: Sequence[Evaluation], end: datetime) -> None:
    if not evaluations:
        return
    rows = [each.row for each in evaluations]
    await query(
        connection,
        window_end=end,
        **{name: list(map(column, rows)) for name, column in STORED_COLUMNS.items()},
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
