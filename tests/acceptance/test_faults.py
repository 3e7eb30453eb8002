"""Every scenario of the fault matrix, small: what `make faults` runs at length."""

from pathlib import Path

import pytest

from deploy.stack.resolve import Servers
from tests.faults.matrix import SCENARIOS
from tests.faults.scenario import Scenario, run
from tests.support.servers import Database

TRIES = 3  # beside other tests a restart may be slow once; what is wrong is slow each time. `make faults` has one


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_nothing_is_lost_and_nothing_is_counted_twice(
    scenario: Scenario, stack: Servers, template: Database, tmp_path: Path
) -> None:
    report = run(scenario, scenario.least_rounds, stack, template, tmp_path, print, tries=TRIES)
    assert report.acknowledged > 0
    assert report.as_promised, report.findings
