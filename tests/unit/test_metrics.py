"""Names and labels of the metrics: those of the contract exist, and rules and panels query no others."""

import re
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from api.metrics import Metrics as ApiMetrics
from consumer.monitoring.metrics import Metrics as ConsumerMetrics
from schemas.records.readings import Reason
from sql.maintenance.metrics import NUMBERS, TABLES, MaintenanceMetrics, Measurement
from tests.support.prometheus import DIRECTORY
from tests.support.repository.dashboard import queries

CONTRACT = {
    "energy_consumer_lag_records": ("topic", "partition"),
    "energy_consumer_lag_seconds": ("topic", "partition"),
    "energy_consumer_replicas_needed": (),
    "energy_records_consumed": ("topic",),
    "energy_records_written": ("topic",),
    "energy_records_duplicate": ("topic",),
    "energy_dead_letters": ("topic", "reason"),
    "energy_batch_records": (),
    "energy_batch_write_seconds": (),
    "energy_write_retries": ("cause",),
    "energy_writes_fenced": (),
    "energy_rebalances": (),
    "energy_ingest_paused": ("reason",),
    "energy_freshness_seconds": (),
    "energy_http_request_duration_seconds": ("method", "route", "status"),
}


def maintenance_metrics() -> MaintenanceMetrics:
    """The metrics of maintenance after one measurement."""
    metrics = MaintenanceMetrics()
    metrics.state.latest = Measurement(dict.fromkeys(NUMBERS, 1.0), {name: [] for name in TABLES})
    return metrics


def api_metrics() -> ApiMetrics:
    """The metrics of a read service that reads from a replica."""
    metrics = ApiMetrics()
    metrics.track_replica(staleness=lambda: 1.0, is_up=lambda: True)
    return metrics


def names(registry: CollectorRegistry) -> set[str]:
    """The names that a query may use: of a histogram its buckets, sum and count, of a counter its total."""
    found = set()
    for family in registry.collect():
        found.add(family.name)
        if family.type == "counter":
            found.add(f"{family.name}_total")
        if family.type == "histogram":
            found |= {f"{family.name}_{part}" for part in ("bucket", "sum", "count")}
    return found


@pytest.mark.parametrize("name", CONTRACT)
def test_a_metric_of_the_contract_has_its_name_and_labels(name: str) -> None:
    metrics = [ConsumerMetrics(), ApiMetrics()]
    collectors = [each for one in metrics for each in fields_of(one) if getattr(each, "_name", None) == name]
    (collector,) = collectors
    assert collector._labelnames == CONTRACT[name]


def fields_of(metrics: object) -> list[Any]:
    """The values of the fields of an object, with or without slots."""
    fields = getattr(metrics, "__slots__", None) or vars(metrics)
    return [getattr(metrics, field) for field in fields]


def test_rules_and_panels_query_existing_metrics_only() -> None:
    exported = names(ConsumerMetrics().registry) | names(api_metrics().registry) | names(maintenance_metrics().registry)
    rules = "".join(
        line
        for file in (DIRECTORY / "rules").glob("*.yml")
        for line in file.read_text().splitlines()
        if "runbook" not in line
    )
    queried = re.findall(r"\benergy_\w+", rules + " ".join(query for _, query in queries()))
    assert queried
    assert set(queried) - exported == set()


def test_the_state_of_replicas_has_an_alert_and_a_panel() -> None:
    shown = " ".join(query for _, query in queries())
    alerts = (DIRECTORY / "rules" / "alerts.yml").read_text()
    for name in names(api_metrics().registry) | names(maintenance_metrics().registry):
        if re.fullmatch(r"energy_(api_)?replicas?_(up|connected|lag_seconds|lag_bytes)", name):
            assert re.search(rf"\b{name}\b", shown), name
            assert re.search(rf"\b{name}\b", alerts), name


def test_counters_of_a_topic_start_at_zero() -> None:
    metrics = ConsumerMetrics()
    metrics.initialize(["meter-readings"])
    assert metrics.registry.get_sample_value("energy_records_consumed_total", {"topic": "meter-readings"}) == 0
    for reason in Reason:
        labels = {"topic": "meter-readings", "reason": reason.value}
        assert metrics.registry.get_sample_value("energy_dead_letters_total", labels) == 0


@pytest.mark.parametrize("metrics", [ConsumerMetrics(), ApiMetrics(), MaintenanceMetrics()])
def test_every_process_exports_its_build(metrics: ConsumerMetrics | ApiMetrics | MaintenanceMetrics) -> None:
    assert "energy_build_info" in names(metrics.registry)
