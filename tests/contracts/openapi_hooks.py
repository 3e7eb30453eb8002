"""What schemathesis cannot know from the document: instants that are recent, cursors that some page has given, time zones."""

import json
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

import schemathesis
from hypothesis import strategies as st

ZONES = ["UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Pacific/Chatham"]
NOW = datetime.now(UTC).replace(microsecond=0)
ORDERS = {"sort": "efficiency", "order": "asc"}  # what they are when a question does not say


def cursor(place: list[Any]) -> str:
    """As api/cursors.py writes it."""
    return urlsafe_b64encode(json.dumps(place, separators=(",", ":")).encode()).rstrip(b"=").decode()


def instants(oldest_hours: int, newest_hours: int) -> st.SearchStrategy[str]:
    """Instants around now, in hours from it."""
    return st.integers(oldest_hours * 3600, newest_hours * 3600).map(
        lambda seconds: (NOW + timedelta(seconds=seconds)).isoformat()
    )


schemathesis.openapi.format("date-time", instants(-72, 0))
schemathesis.openapi.format("iana-time-zone", st.sampled_from(ZONES))
schemathesis.openapi.format("cursor", st.integers(0, 2**63 - 1).map(lambda fault: cursor([fault])))


@schemathesis.hook
def map_case(context: Any, case: Any) -> Any:
    """Parts of one question that belong together, which no schema can say."""
    query = case.query
    positive = case.meta is None or case.meta.generation.mode.is_positive
    if not positive or not isinstance(query, dict):
        return case
    name = case.operation.definition.raw.get("operationId")
    if isinstance(query.get("from"), str):
        query["from"], query["to"] = _ordered(query["from"], query.get("to"))
    if "after" in query and name == "fleetRanking":
        sort, order = (query.get(part, usual) for part, usual in ORDERS.items())
        query["after"] = cursor([sort, order, None, "VEH-001"])
    if "after" in query and name in {"vehicleHistory", "meterHistory"}:
        query["after"] = cursor([query.get("from", (NOW - timedelta(days=5)).isoformat())])
    return case


def _ordered(opens: str, closes: Any) -> tuple[str, str]:
    first, last = sorted(datetime.fromisoformat(each) for each in (opens, closes or NOW.isoformat()))
    return first.isoformat(), (last + timedelta(seconds=1)).isoformat()
