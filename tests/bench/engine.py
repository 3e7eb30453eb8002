"""Our replicas against a backlog: start them, watch the ledger, count what it cost, prove that all of it is there."""

import asyncio
import time
from bisect import bisect_left
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import asyncpg

from deploy.stack.processes import Processes, end_of
from tests.bench.backlog import Backlog
from tests.bench.costs import Costs
from tests.bench.ground import Ground
from tests.support.database import Database
from tests.support.ledger import ledger
from tests.support.services import ConsumerGroup, ConsumerProcess, service_environment

LOOK_SECONDS: Final = 0.02
CONSUMED: Final = "SELECT coalesce(sum(records_consumed), 0)::bigint FROM kafka_offsets"
SETTLED: Final = """
SELECT sum(records_written)::bigint AS written, sum(records_duplicate)::bigint AS duplicates,
    sum(records_dead_lettered)::bigint AS dead_lettered
FROM kafka_offsets"""


@dataclass(slots=True)
class Watch:
    """How many records had been consumed when: committed, as the database tells it; and the largest replica's memory then."""

    times: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    resident: list[int] = field(default_factory=list)

    def note(self, consumed: int, resident: int) -> None:
        self.times.append(time.time())
        self.counts.append(consumed)
        self.resident.append(resident)

    def largest(self, opens: float, closes: float) -> float:
        """The largest replica in MiB while its group had consumed from `opens` to `closes` records."""
        seen = zip(self.counts, self.resident, strict=True)
        return round(max(resident for count, resident in seen if opens <= count <= closes) / 2**20, 1)

    def when(self, consumed: float) -> float:
        """When so many had been consumed; between two commits, on the line between them."""
        after = bisect_left(self.counts, consumed)
        if after == 0:
            return self.times[0]
        before = bisect_left(self.counts, self.counts[after - 1])
        share = (consumed - self.counts[before]) / (self.counts[after] - self.counts[before])
        return self.times[before] + share * (self.times[after] - self.times[before])

    def consumed_at(self, moment: float) -> int:
        """What had been consumed at `moment`."""
        position = bisect_left(self.times, moment)
        return self.counts[position - 1] if position else 0


@dataclass(frozen=True, slots=True)
class Drained:
    """One run. `rate` is records a second from `began`, when every replica had its partitions, to the last commit."""

    rate: float
    seconds: float
    cpu: dict[str, float]
    watch: Watch
    began: float


def drain(
    ground: Ground,
    backlog: Backlog,
    database: Database,
    *,
    replicas: int = 1,
    stored: bool = False,
    beside: Callable[[asyncio.Event], Coroutine[Any, Any, None]] | None = None,
) -> Drained:
    """Drain a backlog into a database; `stored` says that it holds readings already, `beside` runs until its event is set."""
    directory = ground.new_directory("drain")
    environment = service_environment(ground.stack, database, backlog.topics)
    environment["KAFKA_GROUP_ID"] = f"bench-{directory.name}-{database.name}"
    with Processes() as processes:
        drained = asyncio.run(
            _drain(ground, backlog, database, ConsumerGroup(processes, environment, directory), replicas, beside)
        )
    asyncio.run(_prove(backlog, database, stored=stored))
    return drained


async def _drain(
    ground: Ground,
    backlog: Backlog,
    database: Database,
    group: ConsumerGroup,
    replicas: int,
    beside: Callable[[asyncio.Event], Coroutine[Any, Any, None]] | None,
) -> Drained:
    running = [group.start() for _ in range(replicas)]
    clients = [replica.process for replica in running]
    watch = Watch()
    watching = asyncio.create_task(_watch(watch, backlog.records, database, running))
    assigned = max([await _assigned(replica) for replica in running])
    before, already = Costs.now(ground.stack, clients), watch.counts[-1] if watch.counts else 0
    if already > backlog.records / 2:
        raise RuntimeError("most was drained before every replica had its partitions: more records are needed")
    drained = asyncio.Event()
    other = asyncio.create_task(beside(drained)) if beside else None
    await watching
    after = Costs.now(ground.stack, clients)
    drained.set()
    if other:
        await other
    seconds = watch.times[-1] - assigned
    rate = (backlog.records - watch.consumed_at(assigned)) / seconds
    return Drained(rate, seconds, after.per_record(before, backlog.records - already), watch, assigned)


async def _assigned(replica: ConsumerProcess) -> float:
    return datetime.fromisoformat((await replica.until_logged("partitions_assigned"))["timestamp"]).timestamp()


async def _watch(watch: Watch, records: int, database: Database, running: list[ConsumerProcess]) -> None:
    connection = await asyncpg.connect(database.migrator_url)
    try:
        while not watch.counts or watch.counts[-1] < records:
            consumed = await connection.fetchval(CONSUMED)
            for replica in running:
                if replica.process.poll() is not None:
                    raise RuntimeError(f"a replica has ended: {end_of(replica.log)}")
            watch.note(consumed, max(replica.process.memory_info().rss for replica in running))
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        await connection.close()


async def _prove(backlog: Backlog, database: Database, *, stored: bool) -> None:
    found = dict((await database.fetch(SETTLED))[0])
    wanted = {"written": backlog.readings, "duplicates": backlog.duplicates, "dead_lettered": backlog.malformed}
    if found != wanted:
        raise RuntimeError(f"the ledger says {found}, the backlog was {wanted}")
    if not stored:
        await ledger(database, backlog.topics)
