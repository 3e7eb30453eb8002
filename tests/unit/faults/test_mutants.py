"""Every mutant and every negative control still applies to the sources."""

import ast

import pytest

from tests.faults.altered_code import Replacement
from tests.faults.attacks.negative_controls import NO_CLAIM_CONDITION, OFFSETS_FROM_KAFKA
from tests.faults.matrix import SCENARIOS
from tests.faults.mutants.catalogue import MUTANTS
from tests.support.repository import ROOT

CHANGES = {mutant.name: mutant.change for mutant in MUTANTS} | {
    "control-claim": NO_CLAIM_CONDITION,
    "control-offsets": OFFSETS_FROM_KAFKA,
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_change_applies(name: str) -> None:
    change = CHANGES[name]
    source = (ROOT / change.file).read_text()
    changed = change.apply(source)
    assert changed != source
    if change.file.endswith(".py"):
        ast.parse(changed)


def test_the_mutants_have_names_of_their_own_and_scenarios_that_exist() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 20
    assert {mutant.scenario for mutant in MUTANTS} <= {scenario.name for scenario in SCENARIOS}


@pytest.mark.parametrize("text", ["nothing of the kind", "twice twice"])
def test_a_replacement_that_does_not_apply_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"some\.py has .* instead of once"):
        Replacement("some.py", "twice", "once").apply(text)
