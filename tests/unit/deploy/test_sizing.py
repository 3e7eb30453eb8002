"""The sizing model: its inputs, its arithmetic, and the results in the documents."""

import json
import re
import subprocess
import sys
from dataclasses import astuple, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.service import CONNECTIONS
from deploy.sizing import measured
from deploy.sizing.model import CONNECTIONS_OF_A_CONSUMER, Fleet, Server, demand, limits, servers
from deploy.sizing.report import lines
from tests.support.repository import ROOT

BENCHMARKS = (ROOT / "docs" / "benchmarks.md").read_text()
FLEETS = st.builds(
    Fleet,
    devices=st.integers(1, 10**9),
    interval_seconds=st.floats(1, 3600),
    retention_days=st.integers(1, 4000),
    headroom=st.floats(1, 20),
    requests=st.floats(0, 10_000),
)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (measured.TABLE_BYTES, "tables and indexes | {} and"),
        (measured.INDEX_BYTES, "and {} B/reading"),
        (measured.WAL_BYTES, "— WAL | {} B/reading"),
        (measured.DRAIN_RECORDS, "118.7 s, {:,} records/s"),
        (measured.POSTGRES_MICROSECONDS, "in the last tenth | {} µs a record"),
        (measured.CONSUMER_MICROSECONDS, "{}, 2.02, 0.10 µs"),
        (measured.CONSUMER_MEBIBYTES, "memory in an earlier run | {} MiB"),
        (measured.EVALUATION_SECONDS, "`evaluation` of 10,000 vehicles | {} s"),
        (measured.ROLLUP_SECONDS, "`rollup_an_hour` of 20,000 devices | {} s"),
        (measured.REQUESTS, "{:,} requests/s"),
    ],
)
def test_inputs_are_figures_of_the_benchmarks(number: float, words: str) -> None:
    assert words.format(number) in BENCHMARKS


def test_the_model_counts_all_connections_of_a_consumer() -> None:
    assert CONNECTIONS_OF_A_CONSUMER == CONNECTIONS
    for document, words in (("postgresql", "up to {} a consumer"), ("scaling", "Up to {} a consumer")):
        assert words.format(CONNECTIONS) in (ROOT / "docs" / f"{document}.md").read_text(), document


def test_twenty_thousand_devices_need_what_the_design_states() -> None:
    needs = demand(Fleet(20_000))
    assert round(needs.records) == 333
    assert round(needs.records * 86_400) == 28_800_000
    assert needs.history_bytes / (28_800_000 * 400) == pytest.approx(148.5)
    assert (needs.consumers, needs.partitions, needs.api_replicas) == (2, 8, 2)
    assert servers(Fleet(20_000), Server()) == 1
    assert not any(limit.met for limit in limits(Fleet(20_000), Server()))


@given(FLEETS)
def test_a_larger_fleet_never_needs_less(fleet: Fleet) -> None:
    smaller, larger = astuple(demand(fleet)), astuple(demand(replace(fleet, devices=fleet.devices * 2)))
    assert all(less <= more for less, more in zip(smaller, larger, strict=True))
    assert servers(fleet, Server()) <= servers(replace(fleet, devices=fleet.devices * 2), Server())


@given(FLEETS)
def test_a_limit_is_exceeded_exactly_beyond_its_number_of_devices(fleet: Fleet) -> None:
    for limit in limits(fleet, Server()):
        if not limit.devices * 0.999 < fleet.devices < limit.devices * 1.001 + 1:
            assert limit.met == (fleet.devices > limit.devices), limit


@given(FLEETS)
def test_servers_that_share_the_fleet_stay_within_their_limits(fleet: Fleet) -> None:
    number = servers(fleet, Server())
    for limit in limits(fleet, Server()):
        if limit.name != "connections":
            assert limit.used / number <= limit.capacity * (1 + 1e-9)


@given(FLEETS)
def test_there_are_enough_partitions_and_consumers(fleet: Fleet) -> None:
    needs = demand(fleet)
    assert needs.consumers <= 2 * needs.partitions
    assert needs.consumers * measured.DRAIN_RECORDS >= needs.records * fleet.headroom * (1 - 1e-9)


@pytest.mark.parametrize("devices", [20_000, 1_000_000, 100_000_000])
def test_the_document_shows_the_output_of_the_model(devices: int) -> None:
    shown = re.findall(r"```text\n(.*?)\n```", (ROOT / "docs" / "scaling.md").read_text(), re.DOTALL)
    said = "\n".join(lines(Fleet(devices), Server()))
    assert said in shown, (
        f"docs/scaling.md is out of date: paste the output of `python -m deploy.sizing --devices {devices}`"
    )


def test_the_command_prints_json() -> None:
    command = [sys.executable, "-m", "deploy.sizing", "--devices", "1000000", "--server-disk-tb", "100", "--json"]
    said = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert said["servers"] == 2  # because of the evaluation: 77 s a round
    assert [each["limit"] for each in said["limits"] if each["met"]] == ["evaluation"]
    assert said["demand"]["records"] == pytest.approx(16_666.67)


def test_distributed_tables_of_citus_have_the_device_first_in_their_primary_key() -> None:
    script = (ROOT / "deploy" / "citus" / "distribute.sql").read_text()
    schema = (ROOT / "sql" / "schema.sql").read_text()
    distributed = dict(re.findall(r"create_distributed_table\('(\w+)', '(\w+)'", script))
    assert len(distributed) == 13
    for table, device in distributed.items():
        key = re.search(rf"ALTER TABLE ONLY public\.{table}\n    ADD CONSTRAINT \w+ PRIMARY KEY \((\w+)", schema)
        assert key is not None, table
        assert key[1] == device
    for table in re.findall(r"(?:create_reference_table|citus_add_local_table_to_metadata)\('(\w+)'", script):
        assert f"CREATE TABLE public.{table} (" in schema
    assert "NOT TRIED" in script
