"""The file of the Grafana dashboard. tests/integration/deploy/test_prometheus.py runs its queries."""

import re
from collections.abc import Iterable

import yaml

from schemas.config.version import VERSION
from tests.support.prometheus import DIRECTORY
from tests.support.repository import ROOT
from tests.support.repository.dashboard import FILE, dashboard, panels, queries


def test_every_panel_has_a_unique_id_title_and_position() -> None:
    everything = dashboard()["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    assert len({panel["title"] for panel in everything}) == len(everything)
    taken: set[tuple[int, int]] = set()
    for panel in everything:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_all_queries_use_the_provisioned_data_source() -> None:
    provisioning = FILE.parents[1] / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    expected = {"type": source["type"], "uid": source["uid"]}
    asked = [panel["datasource"] for panel in panels()]
    asked += [target["datasource"] for panel in panels() for target in panel["targets"]]
    asked += [variable["datasource"] for variable in dashboard()["templating"]["list"]]
    assert all(each == expected for each in asked)


def test_recorded_series_of_the_queries_exist() -> None:
    groups = yaml.safe_load((DIRECTORY / "rules" / "records.yml").read_text())["groups"]
    recorded = {rule["record"] for group in groups for rule in group["rules"]}
    assert {name for _, query in queries() for name in re.findall(r"energy:[\w:]+", query)} <= recorded


def test_every_metric_of_an_alert_is_on_the_dashboard() -> None:
    assert _measured(_expressions("alerts.yml").values()) - _measured(query for _, query in queries()) == set()


def _expressions(file: str) -> dict[str, str]:
    """The expression of each rule by its name."""
    groups = yaml.safe_load((DIRECTORY / "rules" / file).read_text())["groups"]
    return {rule.get("record") or rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def _measured(expressions: Iterable[str]) -> set[str]:
    """The metrics that expressions read, also through recorded series."""
    recorded, found = _expressions("records.yml"), set[str]()
    for each in expressions:
        found |= set(re.findall(r"\benergy_\w+", each))
        found |= _measured(recorded[name] for name in re.findall(r"\benergy:[\w:]+", each))
    return found


def test_the_version_of_the_build_is_the_version_of_the_project() -> None:
    assert f'\nversion = "{VERSION}"\n' in (ROOT / "pyproject.toml").read_text()


def test_the_page_about_monitoring_names_every_alert_and_only_panels_and_metrics_that_exist() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text()
    alerts = _expressions("alerts.yml").keys()
    assert set(re.findall(r"\[(Energy\w+)\]", page)) == set(alerts)
    titles = {panel["title"] for panel in dashboard()["panels"]}
    header, named = 0, set[str]()
    for line in page.splitlines():
        cells = line.split(" | ")
        if not line.startswith("|"):
            header = 0
        elif "panel" in cells:
            header = cells.index("panel")
        elif header and len(cells) > header:
            named |= set(re.findall(r"`([^`]+)`", cells[header]))
    assert len(named) > 20
    assert named <= titles
