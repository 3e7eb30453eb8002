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
from deploy.sizing.fleet import Fleet
from deploy.sizing.levels import KEPT_LONGER_DAYS, Prices, core_hours, levels
from deploy.sizing.model import CONNECTIONS_OF_A_CONSUMER, Server, demand, limits, servers
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
    fold_after_days=st.integers(1, 4000),
    archive_days=st.integers(0, 4000),
    exact_cadence=st.booleans(),
    late_share=st.floats(0, 1),
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
        (measured.EVALUATION_SECONDS, "`million_judged_seconds` | {} s"),
        (measured.ROLLUP_SECONDS, "`million_rollup_seconds` | {} s"),
        (measured.REQUESTS, "{:,} requests/s"),
        (measured.FOLDED_BYTES, "`levels_folded_bytes` | {} B/reading"),
        (measured.FOLDED_BYTES_EXACT, "`levels_folded_bytes_exact` | {} B/reading"),
        (measured.ARCHIVE_BYTES, "`levels_archive_bytes` | {} B/reading"),
        (measured.ARCHIVE_BYTES_EXACT, "`levels_archive_bytes_exact` | {} B/reading"),
        (measured.FOLDING_MICROSECONDS, "`levels_folding` | {} µs a reading"),
        (measured.MERGING_MILLISECONDS, "`levels_merging` | {} ms a device's day"),
        (measured.ARCHIVING_MICROSECONDS, "`levels_archiving` | {} µs a reading"),
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
    assert needs.disk_bytes == pytest.approx(needs.rows_bytes + needs.folded_bytes, rel=1e-3)
    assert (needs.consumers, needs.partitions, needs.api_replicas) == (2, 8, 2)
    assert servers(Fleet(20_000), Server()) == 1
    assert not any(limit.met for limit in limits(Fleet(20_000), Server()))


def test_each_level_has_its_days_bytes_and_price() -> None:
    fleet, prices = Fleet(20_000, fold_after_days=2, retention_days=90, archive_days=365), Prices(0.5, 0.25, 0.1)
    rows, folded, archive = levels(fleet, prices)
    assert [level.days for level in (rows, folded, archive)] == [3, 87 + KEPT_LONGER_DAYS, 365]
    assert rows.size_bytes / (28_800_000 * 3) == pytest.approx(148.5 + 133 / 60), (
        "an hour's rollup is that of 60 readings"
    )
    assert folded.size_bytes / (28_800_000 * folded.days) == pytest.approx(measured.FOLDED_BYTES)
    assert archive.size_bytes / (28_800_000 * 365) == pytest.approx(measured.ARCHIVE_BYTES)
    assert [level.dollars_a_month for level in (rows, folded, archive)] == [
        pytest.approx(rows.size_bytes / 1e9 * 0.5),
        pytest.approx(folded.size_bytes / 1e9 * 0.5),
        pytest.approx(archive.size_bytes / 1e9 * 0.25),
    ]


@pytest.mark.parametrize(("retention_days", "days"), [(1, [1, 0]), (4, [4, 0]), (5, [4, 1 + KEPT_LONGER_DAYS])])
def test_a_day_is_on_one_level_of_the_database(retention_days: int, days: list[int]) -> None:
    assert [level.days for level in levels(Fleet(1, retention_days=retention_days, archive_days=0))] == [*days, 0]


def test_an_exact_cadence_takes_less_folded_and_in_the_archive() -> None:
    rows, folded, archive = levels(Fleet(1))
    exact = levels(Fleet(1, exact_cadence=True))
    assert exact[0] == rows
    assert exact[1].size_bytes < folded.size_bytes
    assert exact[2].size_bytes < archive.size_bytes


def test_a_billion_readings_take_the_measured_time_of_each_work() -> None:
    hours = core_hours(Fleet(20_000, late_share=0.5))
    assert hours["consumers"] * 3.6 == pytest.approx(measured.CONSUMER_MICROSECONDS)
    assert hours["rollups"] * 3.6 == pytest.approx(measured.ROLLUP_SECONDS * 1e6 / (measured.ROLLED_UP_DEVICES * 60))
    assert hours["evaluation"] * 3.6 == pytest.approx(
        measured.EVALUATION_SECONDS * 1e6 / (2 * measured.EVALUATED_VEHICLES)
    ), "every minute, in which a device sends once"
    assert hours["folding"] * 3.6 == pytest.approx(measured.FOLDING_MICROSECONDS)
    assert hours["merging"] * 3.6 == pytest.approx(measured.MERGING_MILLISECONDS * 1000 * 0.5 / 1440)
    assert core_hours(Fleet(20_000, archive_days=0))["archiving"] == 0
    seldom = core_hours(Fleet(20_000, interval_seconds=300, late_share=0.5))
    for work in ("rollups", "evaluation", "merging"):
        assert seldom[work] == pytest.approx(5 * hours[work]), work


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
    options = ["--server-disk-tb", "1", "--disk-price", "0.5", "--archive-days", "0"]
    command = [sys.executable, "-m", "deploy.sizing", "--devices", "1000000", *options, "--json"]
    said = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert said["servers"] == 5  # because of the disk: 4.2 TB
    assert "disk" in {each["limit"] for each in said["limits"] if each["met"]}
    assert said["demand"]["records"] == pytest.approx(16_666.67)
    assert [level["name"] for level in said["levels"]] == ["rows", "folded", "archive"]
    assert said["levels"][0]["dollars_a_month"] == pytest.approx(said["levels"][0]["size_bytes"] / 1e9 * 0.5)
    assert said["prices"] == {"disk_gb_month": 0.5, "archive_gb_month": 0.02, "core_hour": 0.05}
    assert said["core_hours_per_billion_readings"]["archiving"] == 0


def test_prices_that_are_not_given_are_marked_as_assumed() -> None:
    said = "\n".join(lines(Fleet(20_000), Server(), Prices(disk_gb_month=0.5)))
    assert "database at $0.5, of the archive at $0.02 (assumed)" in said
    assert "each at $0.05 (assumed)" in said
