"""Every mutant still applies to the sources, and names a scenario."""

import ast

import pytest

from tests.faults.altered_code import Replacement
from tests.faults.matrix import SCENARIOS
from tests.faults.mutants.catalogue import MUTANTS, Mutant
from tests.support.repository import ROOT


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_mutant_applies(mutant: Mutant) -> None:
    source = (ROOT / mutant.change.file).read_text()
    changed = mutant.change.apply(source)
    assert changed != source
    if mutant.change.file.endswith(".py"):
        ast.parse(changed)


def test_the_mutants_have_names_of_their_own_and_scenarios_that_exist() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 20
    assert {mutant.scenario for mutant in MUTANTS} <= {scenario.name for scenario in SCENARIOS}


@pytest.mark.parametrize("text", ["nothing of the kind", "twice twice"])
def test_a_replacement_that_does_not_apply_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"some\.py has .* instead of once"):
        Replacement("some.py", "twice", "once").apply(text)
