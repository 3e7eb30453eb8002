"""Every scenario of the fault matrix with few rounds; `make faults` runs them for long."""

from pathlib import Path

import pytest

from deploy.stack.servers import Servers
from tests.faults.scenario import Scenario, run
from tests.faults.scenarios import SCENARIOS
from tests.support.database import Database

# A restart may be slow once while other tests run; a defect is slow every time. `make faults` has one try.
TRIES = 3


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_nothing_is_lost_and_nothing_is_counted_twice(
    scenario: Scenario, stack: Servers, template: Database, tmp_path: Path
) -> None:
    report = run(scenario, scenario.least_rounds, stack, template, tmp_path, print, tries=TRIES)
    assert report.acknowledged > 0
    assert report.as_promised, report.findings
