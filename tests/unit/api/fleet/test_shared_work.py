"""Shared work: once for all that wait for it, bounded, and ended when they have all left."""

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from api.fleet.shared_work import SharedWork
from api.problems import Overloaded
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


class Work:
    """Computations that last until they are allowed to end, and what became of each."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.error: Exception | None = None
        self.started: Counter[str] = Counter()
        self.cancelled: Counter[str] = Counter()

    async def of(self, key: str) -> str:
        self.started[key] += 1
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.cancelled[key] += 1
            raise
        if self.error:
            raise self.error
        return f"result of {key}"


async def settled(condition: Callable[[], bool]) -> None:
    async def holds() -> bool:
        return condition()

    await until(holds, "the tasks have come so far", every=0)


def ask(shared: SharedWork[str], work: Work, key: str) -> "asyncio.Task[str]":
    async def asking() -> str:
        return await shared.result(key, partial(work.of, key))

    return asyncio.create_task(asking())


async def test_all_that_wait_for_one_key_share_one_computation() -> None:
    shared, work = SharedWork[str](running=2, queued=0), Work()
    asking = [ask(shared, work, "A") for _ in range(60)]
    await settled(lambda: work.started["A"] == 1)
    work.may_end.set()
    assert set(await asyncio.gather(*asking)) == {"result of A"}
    assert work.started == {"A": 1}
    assert await ask(shared, work, "A") == "result of A"
    assert work.started == {"A": 2}, "a finished computation is not kept"


async def test_a_full_queue_rejects_further_keys_and_only_those() -> None:
    shared, work = SharedWork[str](running=2, queued=3), Work()
    asking = [ask(shared, work, key) for key in "ABCDE"]
    await settled(lambda: work.started.total() == 2)
    with pytest.raises(Overloaded, match="5 computations"):
        await ask(shared, work, "F")
    joined = ask(shared, work, "E")
    assert work.started == {"A": 1, "B": 1}, "no more than two at a time"
    work.may_end.set()
    assert await asyncio.gather(*asking, joined) == [f"result of {key}" for key in "ABCDEE"]
    assert await ask(shared, work, "F") == "result of F"


async def test_work_ends_with_the_last_request_that_waits_for_it() -> None:
    shared, work = SharedWork[str](running=1, queued=1), Work()
    first, second, queued = (ask(shared, work, key) for key in "AAB")
    await settled(lambda: work.started["A"] == 1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert not work.cancelled, "the second still waits"
    second.cancel()
    await settled(lambda: work.started["B"] == 1)
    assert work.cancelled == {"A": 1}
    queued.cancel()
    await settled(lambda: work.cancelled["B"] == 1)
    work.may_end.set()
    assert await asyncio.gather(*(ask(shared, work, key) for key in "AB")) == ["result of A", "result of B"]


async def test_queued_work_that_nobody_waits_for_never_starts() -> None:
    shared, work = SharedWork[str](running=1, queued=60), Work()
    running = ask(shared, work, "A")
    left = [ask(shared, work, f"left-{number}") for number in range(60)]
    await settled(lambda: work.started.total() == 1)
    for each in left:
        each.cancel()
    await asyncio.wait(left)
    work.may_end.set()
    assert await running == "result of A"
    assert await ask(shared, work, "B") == "result of B"
    assert work.started == {"A": 1, "B": 1}


async def test_an_error_reaches_all_that_wait_and_frees_the_key() -> None:
    shared, work = SharedWork[str](running=1, queued=0), Work()
    asking = [ask(shared, work, "A") for _ in range(3)]
    await settled(lambda: work.started["A"] == 1)
    work.error = ValueError("no")
    work.may_end.set()
    errors = await asyncio.gather(*asking, return_exceptions=True)
    assert [repr(each) for each in errors] == ["ValueError('no')"] * 3
    work.error = None
    assert await ask(shared, work, "A") == "result of A"
