"""The measurement of the database does not wait for the count of dead letters, which takes longer the more there are."""

import asyncio
from typing import Any

import pytest
from pydantic import SecretStr

from sql.maintenance import database_metrics
from sql.maintenance.database_metrics import keep_measuring
from sql.maintenance.metrics import NUMBERS, DatabaseState, Measurement
from tests.support.waiting import until

pytestmark = pytest.mark.anyio
URL = SecretStr("postgresql://nowhere")


def exposed(state: DatabaseState) -> set[str]:
    return {family.name for family in state.collect()}


async def test_numbers_are_exposed_while_dead_letters_are_still_being_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = asyncio.Event()

    async def measure(*_: Any) -> Measurement:
        return Measurement(dict.fromkeys(NUMBERS, 1.0), {"table_bytes": [("dead_letters", 1)]})

    async def count(_: Any) -> Any:
        await counted.wait()
        return {"dead_letters_unresolved": [("meter-readings", "not_json", 2)], "ledger_mismatch_records": []}

    monkeypatch.setattr(database_metrics, "measure", measure)
    monkeypatch.setattr(database_metrics, "count_dead_letters", count)
    state = DatabaseState()
    measuring = asyncio.create_task(keep_measuring(URL, state, 3, 0.01))

    async def exposes(name: str) -> bool:
        return name in exposed(state)

    await until(lambda: exposes("energy_database_bytes"), "the numbers are exposed")
    assert "energy_dead_letters_unresolved" not in exposed(state)
    counted.set()
    await until(lambda: exposes("energy_dead_letters_unresolved"), "the counts are exposed")
    measuring.cancel()


async def test_an_error_of_our_own_code_ends_neither_loop_and_leaves_no_outdated_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured = iter([Measurement(dict.fromkeys(NUMBERS, 1.0), {"table_bytes": []})])
    counted = iter([{"ledger_mismatch_records": [("meter-readings", 0)]}])
    failures = 0

    async def fail_after(results: Any) -> Any:
        nonlocal failures
        for result in results:
            return result
        failures += 1
        raise TypeError("of our own code")

    monkeypatch.setattr(database_metrics, "measure", lambda *_: fail_after(measured))
    monkeypatch.setattr(database_metrics, "count_dead_letters", lambda _: fail_after(counted))
    state = DatabaseState()
    measuring = asyncio.create_task(keep_measuring(URL, state, 3, 0.01))

    async def failed() -> bool:
        return failures >= 4

    await until(failed, "both are tried again")
    assert not measuring.done()
    assert exposed(state) == {"energy_database_answers"}
    assert state.counts == {}
    measuring.cancel()
