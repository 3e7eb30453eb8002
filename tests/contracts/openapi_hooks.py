"""Hooks of schemathesis for values that no schema describes: recent instants, cursors of real pages, time zones."""

import json
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

import schemathesis
from hypothesis import strategies as st

ZONES = ["UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Pacific/Chatham"]
NOW = datetime.now(UTC).replace(microsecond=0)
ORDERS = {"sort": "efficiency", "order": "asc"}  # the defaults of the parameters


def cursor(position: list[Any]) -> str:
    """A cursor in the encoding of api/routes/pagination.py."""
    return urlsafe_b64encode(json.dumps(position, separators=(",", ":")).encode()).rstrip(b"=").decode()


def instants(oldest_hours: int, newest_hours: int) -> st.SearchStrategy[str]:
    """Instants between two offsets from now, in hours."""
    return st.integers(oldest_hours * 3600, newest_hours * 3600).map(
        lambda seconds: (NOW + timedelta(seconds=seconds)).isoformat()
    )


schemathesis.openapi.format("date-time", instants(-72, 0))
schemathesis.openapi.format("iana-time-zone", st.sampled_from(ZONES))
schemathesis.openapi.format("cursor", st.integers(0, 2**63 - 1).map(lambda fault: cursor([fault])))


@schemathesis.serializer("application/x-ndjson")
def lines(_: Any, value: Any) -> bytes:
    """A batch of NDJSON, which the document describes as text."""
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


@schemathesis.hook
def map_case(context: Any, case: Any) -> Any:
    """Makes valid requests consistent: parameters that depend on each other, and timestamps close to now."""
    if case.meta is not None and not case.meta.generation.mode.is_positive:
        return case
    if isinstance(case.body, dict) and "timestamp" in case.body:
        case.body["timestamp"] = NOW.isoformat()
    if isinstance(case.query, dict):
        _align(case.query, case.operation.definition.raw.get("operationId"))
    return case


def _align(query: dict[str, Any], operation: str | None) -> None:
    if "from" in query or "to" in query:
        query["from"], query["to"] = ((NOW + timedelta(hours=hours)).isoformat() for hours in (-30, 0))
    if "after" in query and operation == "fleetRanking":
        query["after"] = cursor([*(query.get(part, default) for part, default in ORDERS.items()), None, "VEH-001"])
    if "after" in query and operation in {"vehicleHistory", "meterHistory"}:
        query["after"] = cursor([(NOW - timedelta(days=2)).isoformat()])
