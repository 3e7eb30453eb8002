"""The Grafana dashboard as the tests read it: its panels and their queries, variables filled in."""

import json
import re
from typing import Any

from tests.support.services import ROOT

FILE = ROOT / "deploy" / "grafana" / "dashboards" / "energy.json"
VARIABLES = {"$topic": ".*", "$__rate_interval": "20s"}


def dashboard() -> dict[str, Any]:
    """The whole of it."""
    content: dict[str, Any] = json.loads(FILE.read_text())
    return content


def panels() -> list[dict[str, Any]]:
    """Those that show something."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def queries() -> list[tuple[str, str]]:
    """The title of the panel and the query, for every query."""
    return [(panel["title"], _fill_in(target["expr"])) for panel in panels() for target in panel["targets"]]


def label_values() -> list[tuple[str, str]]:
    """What the variables offer: of which metric the values of which label."""
    asked = [variable["query"]["query"] for variable in dashboard()["templating"]["list"]]
    found = [re.fullmatch(r"label_values\((\w+), (\w+)\)", query) for query in asked]
    assert all(found), asked
    return [(each[1], each[2]) for each in found if each]


def _fill_in(query: str) -> str:
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    assert "$" not in query, f"a variable that nobody fills in: {query}"
    return query
