"""The planted defects of the simulation: each text is in its module, and a defect makes a seed fail."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.defects import DEFECTS, Defect

BY_NAME = {defect.name: defect for defect in DEFECTS}


@pytest.mark.parametrize("defect", DEFECTS, ids=list(BY_NAME))
def test_the_text_of_a_defect_is_in_its_module_once(defect: Defect) -> None:
    source = defect.path.read_text()
    assert defect.apply(source) != source


def test_there_are_twenty_defects_of_different_names() -> None:
    assert len(BY_NAME) == len(DEFECTS) >= 20


@pytest.mark.parametrize("name", ["a batch counts only its last portion", "the stored offset skips a record"])
def test_a_planted_defect_is_found(name: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.simulation"],
        cwd=Path(__file__).parents[3],
        env=os.environ | {"DEFECT": name, "SEEDS": "100", "FROM": "1", "JOBS": "1"},
        capture_output=True,
        timeout=280,
        check=False,
    )
    assert run.returncode == 1, run.stderr
    assert json.loads(run.stdout)["failed"]
