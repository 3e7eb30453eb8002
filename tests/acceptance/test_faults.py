"""The failure scenarios with the fewest rounds that cover them; `make faults` runs all of them with all rounds."""

from pathlib import Path

import pytest

from deploy.stack.servers import Servers
from tests.faults.matrix import SCENARIOS
from tests.faults.scenario import Scenario, run
from tests.support.database import Database

ATTEMPTS = 3  # a restart may be slow once because other tests run at the same time; a defect is slow each time


@pytest.mark.parametrize("scenario", [each for each in SCENARIOS if each.in_tests], ids=lambda scenario: scenario.name)
def test_nothing_is_lost_and_nothing_is_counted_twice(
    scenario: Scenario, stack: Servers, template: Database, tmp_path: Path
) -> None:
    report = run(scenario, scenario.min_rounds, stack, template, tmp_path, print, attempts=ATTEMPTS)
    assert report.acknowledged > 0
    assert report.as_promised, report.findings
