"""The alert rules: each has cases in which it fires and does not fire, and an entry in the runbook."""

import re
import subprocess
from typing import Any

import pytest
import yaml

from api.settings import ApiSettings
from consumer.monitoring import health
from sql.maintenance import metrics
from tests.support.prometheus import DIRECTORY, NO_PROMETHEUS, PROMTOOL
from tests.support.repository import ROOT

ALERTS: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((DIRECTORY / "rules" / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
NAMES = [rule["alert"] for rule in ALERTS]


def anchors(text: str) -> list[str]:
    """The link anchors of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return [re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings]


def entry(page: str, name: str) -> str:
    """The text below the heading of an alert."""
    found = re.search(rf"^### {name}$\n(.*?)(?=^#|\Z)", page, re.MULTILINE | re.DOTALL)
    assert found, f"docs/runbook.md has no entry {name}"
    return found.group(1)


@pytest.mark.parametrize("rule", ALERTS, ids=NAMES)
def test_an_alert_has_annotations_and_a_runbook_entry(rule: dict[str, Any]) -> None:
    annotations = rule["annotations"]
    assert set(annotations) == {"summary", "description", "runbook_url"}
    assert rule["labels"]["severity"] in {"info", "warning", "critical"}
    page, anchor = annotations["runbook_url"].split("#")
    text = (ROOT / page).read_text()
    assert anchors(text).count(anchor) == 1
    assert all(word in entry(text, rule["alert"]) for word in ("Means:", "Look:", "Do:"))


def test_every_entry_of_the_runbook_belongs_to_an_alert() -> None:
    page = (ROOT / "docs" / "runbook.md").read_text()
    assert sorted(re.findall(r"^### (Energy\w+)$", page, re.MULTILINE)) == sorted(NAMES)


def test_every_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    files = [yaml.safe_load((DIRECTORY / name).read_text()) for name in ("rules_test.yml", "rules_days_test.yml")]
    cases = [case for file in files for case in file["tests"]]
    found: set[tuple[str, str]] = set()
    for case in cases:
        named = re.fullmatch(r"(\w+) (fires|is quiet)(: .+)?", case["name"])
        assert named, f"neither `ALERT fires` nor `ALERT is quiet`, with or without `: why`: {case['name']}"
        alert, what, _ = named.groups()
        first = case["promql_expr_test"][0]
        assert ("exp_samples" in first) == (what == "fires"), case["name"]
        assert f'alertname="{alert}"' in first["expr"]
        found.add((alert, what))
    assert found == {(name, what) for name in NAMES for what in ("fires", "is quiet")}
    assert len({case["name"] for case in cases}) == len(cases)


def test_the_targets_have_the_default_ports() -> None:
    ports = {
        "consumer": health.DEFAULT_PORT,
        "maintain": metrics.DEFAULT_PORT,
        "api": ApiSettings.model_fields["api_port"].default,
    }
    for job, port in ports.items():
        (targets,) = yaml.safe_load((DIRECTORY / "targets" / f"{job}.yml").read_text())
        assert targets["targets"] == [f"localhost:{port}"]


@pytest.mark.skipif(PROMTOOL is None, reason=NO_PROMETHEUS)
@pytest.mark.parametrize(
    "arguments",
    [
        ("test", "rules", "rules_test.yml"),
        ("test", "rules", "rules_days_test.yml"),
        ("test", "rules", "records_test.yml"),
        ("check", "config", "prometheus.yml"),
    ],
    ids=["rules", "days", "records", "config"],
)
def test_promtool_accepts_the_rules_and_the_configuration(arguments: tuple[str, ...]) -> None:
    done = subprocess.run([str(PROMTOOL), *arguments], cwd=DIRECTORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
