"""The whole fleet, every minute: energy of 24 hours -> judgement -> fault opened or closed, with its event in the outbox.

Each portion of vehicles is one transaction: what is stored of them, their faults and the events of these belong together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

import msgspec
import structlog

from schemas.records.alerts import Alert
from sql.analytics.efficiency import WINDOW, Efficiency, EnergySums, Thresholds, judge
from sql.analytics.fault_state import Hysteresis, Standing, advance
from sql.queries import queries, vehicle_id_batches

log = structlog.get_logger(__name__)

AT_ONCE: Final = 5_000  # vehicles
Connection = Any  # asyncpg.Connection


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One vehicle: the row of `energy_of`, what is made of it, and how the vehicle stands now. `fault_id` is of an open fault."""

    found: Any
    efficiency: Efficiency
    before: Standing
    standing: Standing
    fault_id: int | None

    @property
    def vehicle_id(self) -> str:
        """Of the vehicle."""
        return str(self.found["vehicle_id"])


async def evaluate_fleet(connection: Connection, now: datetime, limits: Thresholds, rules: Hysteresis) -> int:
    """Judge every vehicle over the 24 hours up to the minute that has begun last; how many were judged now.

    A vehicle is judged once a minute at most, however often this is called.
    """
    end = now.replace(second=0, microsecond=0)
    evaluated = 0
    async for vehicle_ids in vehicle_id_batches(connection, AT_ONCE):
        async with connection.transaction():
            evaluations = await _evaluate(connection, vehicle_ids, end, limits, rules)
            await _store(connection, evaluations, end)
            told = await _open_and_close(connection, evaluations, end, limits, rules)
        for alert in told:
            log.info(alert.event, vehicle_id=alert.vehicle_id, ratio=alert.efficiency_ratio, fault_id=alert.fault_id)
        evaluated += len(evaluations)
    await queries.forget_unheard(connection, window_end=end)
    return evaluated


async def _evaluate(
    connection: Connection, vehicle_ids: list[str], end: datetime, limits: Thresholds, rules: Hysteresis
) -> list[Evaluation]:
    known = {row["vehicle_id"]: row async for row in queries.standings(connection, vehicle_ids=vehicle_ids)}
    due = [each for each in vehicle_ids if each not in known or known[each]["window_end"] < end]
    number = len(due)
    rows = queries.energy_of(connection, vehicle_ids=due, opens=[end - WINDOW] * number, closes=[end] * number)
    return [_judged(row, known.get(row["vehicle_id"]), limits, rules) async for row in rows]


def _judged(found: Any, known: Any, limits: Thresholds, rules: Hysteresis) -> Evaluation:
    efficiency = judge(EnergySums.of(found), limits)
    fault_id = known["fault_id"] if known else None
    before = Standing()
    if known:
        before = Standing(known["faulty_in_a_row"], known["sound_in_a_row"], is_open=fault_id is not None)
    standing = advance(before, efficiency.status, efficiency.ratio, rules)
    return Evaluation(found, efficiency, before, standing, fault_id)


async def _store(connection: Connection, evaluations: Sequence[Evaluation], end: datetime) -> None:
    found = [each.found for each in evaluations]
    await queries.store_evaluations(
        connection,
        window_end=end,
        vehicle_ids=[row["vehicle_id"] for row in found],
        assigned_seconds=[row["assigned_seconds"] for row in found],
        ac_kwhs=[row["ac_kwh"] for row in found],
        dc_kwhs=[row["dc_kwh"] for row in found],
        dc_kwhs_assigned=[row["dc_kwh_assigned"] for row in found],
        ac_points=[row["ac_points"] for row in found],
        dc_points=[row["dc_points"] for row in found],
        dc_points_assigned=[row["dc_points_assigned"] for row in found],
        temperatures=[row["average_battery_temp"] for row in found],
        ratios=[each.efficiency.ratio for each in evaluations],
        ac_coverages=[each.efficiency.ac_coverage for each in evaluations],
        dc_coverages=[each.efficiency.dc_coverage for each in evaluations],
        statuses=[each.efficiency.status for each in evaluations],
        reasons=[each.efficiency.reason for each in evaluations],
        faulty=[each.standing.faulty for each in evaluations],
        sound=[each.standing.sound for each in evaluations],
    )


async def _open_and_close(
    connection: Connection, evaluations: Sequence[Evaluation], end: datetime, limits: Thresholds, rules: Hysteresis
) -> list[Alert]:
    opening = [each for each in evaluations if each.standing.is_open and not each.before.is_open]
    closing = [each for each in evaluations if each.before.is_open and not each.standing.is_open]
    going_on = [each for each in evaluations if each.before.is_open and each.efficiency.status == "faulty"]
    await queries.note_lowest(
        connection,
        fault_ids=[each.fault_id for each in going_on],
        ratios=[each.efficiency.ratio for each in going_on],
    )
    asked = [each.vehicle_id for each in opening]
    rows = queries.meters_of(connection, vehicle_ids=asked, opens=end - WINDOW, closes=end)
    meters = {row["vehicle_id"]: row["meter_ids"] async for row in rows}
    told: list[Alert] = []
    for each in opening:
        meter_ids = meters.get(each.vehicle_id, [])
        opened = await queries.open_fault(
            connection, vehicle_id=each.vehicle_id, meter_ids=meter_ids, **_seen(each, end)
        )
        told.append(_alert("fault_opened", each, opened["fault_id"], meter_ids, end, limits.fault_below))
    for each in closing:
        closed = await queries.close_fault(connection, fault_id=each.fault_id, **_seen(each, end))
        told.append(_alert("fault_closed", each, closed["fault_id"], closed["meter_ids"], end, rules.close_from))
    for alert in told:
        await queries.put_alert(connection, key=alert.vehicle_id, value=msgspec.json.encode(alert).decode())
    return told


def _seen(evaluation: Evaluation, end: datetime) -> dict[str, Any]:
    return {
        "at": end,
        "ratio": evaluation.efficiency.ratio,
        "ac_kwh": evaluation.found["ac_kwh"],
        "dc_kwh": evaluation.found["dc_kwh_assigned"],
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
        event_id=f"{fault_id}-{event}",
        event=event,
        fault_id=fault_id,
        vehicle_id=evaluation.vehicle_id,
        meter_ids=meter_ids,
        at=end,
        efficiency_ratio=evaluation.efficiency.ratio or 0.0,
        energy_consumed_ac=evaluation.found["ac_kwh"],
        energy_delivered_dc=evaluation.found["dc_kwh_assigned"],
        window_start=end - WINDOW,
        window_end=end,
        threshold_percent=threshold,
    )
