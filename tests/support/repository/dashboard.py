"""The Grafana dashboard: its panels and their queries, with variables filled in."""

import json
import re
from typing import Any

from tests.support.repository import ROOT

FILE = ROOT / "deploy" / "grafana" / "dashboards" / "energy.json"
VARIABLES = {"$topic": ".*", "$__rate_interval": "20s"}


def dashboard() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(FILE.read_text())
    return content


def panels() -> list[dict[str, Any]]:
    """The panels except row headings."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def queries() -> list[tuple[str, str]]:
    """Every query, with the title of its panel."""
    return [(panel["title"], _fill_in(target["expr"])) for panel in panels() for target in panel["targets"]]


def label_values() -> list[tuple[str, str]]:
    """The metric and the label from which each variable takes its values."""
    variables = [variable["query"]["query"] for variable in dashboard()["templating"]["list"]]
    found = [re.fullmatch(r"label_values\((\w+), (\w+)\)", query) for query in variables]
    assert all(found), variables
    return [(each[1], each[2]) for each in found if each]


def _fill_in(query: str) -> str:
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    assert "$" not in query, f"VARIABLES has no value for a variable of {query}"
    return query
