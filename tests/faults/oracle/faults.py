"""Efficiency faults and the events that tell about them, against plain sums of the log."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from math import isclose
from typing import Any, Final

from tests.faults.oracle.energy import FAULTY_BELOW, Energy, energy
from tests.faults.oracle.expected import Expected
from tests.faults.oracle.log import LogRecord
from tests.faults.oracle.verdict import Verdict

DAY: Final = timedelta(hours=24)
CLOSES_FROM: Final = 87.0
ROUNDED: Final = 0.005001  # ratios are rounded to two digits
FAULTS: Final = (
    "SELECT fault_id, vehicle_id, meter_ids, opened_at, opened_ratio, opened_ac_kwh, opened_dc_kwh, lowest_ratio, "
    "closed_at, closed_ratio, closed_ac_kwh, closed_dc_kwh FROM efficiency_faults ORDER BY fault_id"
)
OUTBOX: Final = "SELECT value, published_at FROM alert_outbox"
Connection = Any  # asyncpg.Connection
Row = Any  # asyncpg.Record


async def compare_faults(
    verdict: Verdict,
    connection: Connection,
    expected: Expected,
    judged: Iterable[str],
    now: datetime,
) -> list[Row]:
    """Compare the faults with the log, and return them.

    Each vehicle of `judged` has an open fault exactly if its last 24 hours are faulty. What a fault was opened with is compared
    while it is open, and what it was closed with afterwards: by then more readings may have come.
    """
    rows: list[Row] = await connection.fetch(FAULTS)
    open_faults = [row["vehicle_id"] for row in rows if row["closed_at"] is None]
    faulty = [each for each in judged if energy(expected, each, now - DAY, now).status == "faulty"]
    verdict.compare("vehicles with an open fault", faulty, open_faults)
    for row in rows:
        prefix = "opened" if row["closed_at"] is None else "closed"
        at = row[f"{prefix}_at"]
        sums = energy(expected, row["vehicle_id"], at - DAY, at)
        figures = row[f"{prefix}_ratio"], row[f"{prefix}_ac_kwh"], row[f"{prefix}_dc_kwh"]
        right = _agree(sums, *figures) and _is_judged(sums, closed=prefix == "closed")
        verdict.require(f"fault {dict(row)} was {prefix} with other figures than {sums}", holds=right)
        meters = sorted(row["meter_ids"])
        verdict.require(
            f"fault {dict(row)} names other meters than {sorted(sums.meters)}",
            holds=prefix == "closed" or meters == sorted(sums.meters),
        )
    return rows


def _is_judged(sums: Energy, *, closed: bool) -> bool:
    ratio = sums.ratio or 0.0
    return ratio >= CLOSES_FROM - ROUNDED if closed else sums.status == "faulty"


def _agree(sums: Energy, ratio: float, ac: float, dc: float) -> bool:
    """A fault has the energies that its ratio is the quotient of."""
    return (
        sums.ratio is not None
        and isclose(ratio, sums.ratio, abs_tol=ROUNDED)
        and isclose(ac, sums.compared.ac, rel_tol=1e-9)
        and isclose(dc, sums.compared.dc, rel_tol=1e-9)
    )


async def compare_alerts(
    verdict: Verdict, connection: Connection, faults: Sequence[Row], told: Sequence[LogRecord], most_copies: int
) -> None:
    """Each fault is told once when it opens and once when it closes. A copy has the `eventId` of the first, and is rare."""
    outbox = await connection.fetch(OUTBOX)
    waiting = [row["value"] for row in outbox if row["published_at"] is None]
    verdict.require(f"events wait in the outbox: {waiting}", holds=not waiting)
    wanted = [(each["fault_id"], "fault_opened") for each in faults]
    wanted += [(each["fault_id"], "fault_closed") for each in faults if each["closed_at"]]
    verdict.compare("events in the outbox", wanted, [_event(json.loads(row["value"])) for row in outbox])
    copies: defaultdict[str, list[LogRecord]] = defaultdict(list)
    for record in told:
        copies[json.loads(record.value or b"{}")["eventId"]].append(record)
    events = {event_id: json.loads(records[0].value or b"{}") for event_id, records in copies.items()}
    verdict.compare("events told", wanted, map(_event, events.values()))
    for event_id, records in copies.items():
        verdict.require(
            f"event {event_id} was told {len(records)} times, with {len({each.value for each in records})} contents",
            holds=len(records) <= most_copies and len({(each.key, each.value) for each in records}) == 1,
        )
    by_id = {each["fault_id"]: each for each in faults}
    for event_id, event in events.items():
        fault = by_id.get(event["faultId"])
        key = copies[event_id][0].key
        verdict.require(
            f"event {event} with the key {key!r} contradicts its fault {fault and dict(fault)}",
            holds=fault is not None and key == fault["vehicle_id"].encode() and _tells(event, fault),
        )


def _event(event: dict[str, Any]) -> tuple[int, str]:
    return event["faultId"], event["event"]


def _tells(event: dict[str, Any], fault: Row) -> bool:
    prefix = event["event"].removeprefix("fault_")
    figures = {"efficiencyRatio": "ratio", "energyConsumedAc": "ac_kwh", "energyDeliveredDc": "dc_kwh"}
    opens, closes = (datetime.fromisoformat(event[each]) for each in ("windowStart", "windowEnd"))
    return (
        event["vehicleId"] == fault["vehicle_id"]
        and sorted(event["meterIds"]) == sorted(fault["meter_ids"])
        and datetime.fromisoformat(event["at"]) == fault[f"{prefix}_at"]
        and all(isclose(event[name], fault[f"{prefix}_{column}"]) for name, column in figures.items())
        and closes - opens == DAY
        and event["thresholdPercent"] == (FAULTY_BELOW if prefix == "opened" else CLOSES_FROM)
    )
