"""One comparison of the whole system with Kafka's log."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import httpx

from tests.faults.oracle.answers import compare_answers
from tests.faults.oracle.archive import read_archive
from tests.faults.oracle.decode import Reading
from tests.faults.oracle.expected import Expected, expect
from tests.faults.oracle.faults import compare_alerts, compare_faults
from tests.faults.oracle.log import Acknowledged, LogRecord, TopicNames, read_log
from tests.faults.oracle.tables import compare_rollups, compare_tables
from tests.faults.oracle.verdict import Verdict


@dataclass(slots=True)
class DeliberateChanges:
    """What the scenario itself has done to the data.

    `consumed` are records that were deleted from Kafka after they had been consumed, `unread` those that were deleted before.
    `read_again` are records that were read once more because a stored offset was moved back.
    `rejects` says which readings the database has been set up to reject.
    """

    consumed: list[LogRecord] = field(default_factory=list)
    unread: set[tuple[str, int, int]] = field(default_factory=set)
    read_again: list[LogRecord] = field(default_factory=list)
    rejects: Callable[[Reading], bool] = lambda _: False


@dataclass(frozen=True, slots=True)
class System:
    """Where the system can be observed. All data of the `judged` vehicles was stored before their first evaluation.

    An event may be told `most_copies` times: once, and again after each consumer that ended before it had noted the first.
    `ends` are instants up to which 24 hours are asked for.
    """

    servers: str
    database_url: str
    api_url: str
    archive: Path
    topics: TopicNames
    judged: Sequence[str]
    most_copies: int
    ends: Sequence[datetime]


async def compare(system: System, journal: Sequence[Acknowledged], changes: DeliberateChanges) -> Verdict:
    """Compare tables, faults, events and answers of a system at rest with the log. Errors of the system are findings."""
    verdict = Verdict(acknowledged=len(journal))
    log = changes.consumed + await read_log(system.servers, system.topics)
    _compare_journal(verdict, log, journal, changes)
    now = datetime.now(UTC)
    expected = expect(log, system.topics, changes.rejects, now, changes.read_again)
    connection = await asyncpg.connect(system.database_url)
    try:
        archived = read_archive(verdict, system.archive)
        await compare_tables(verdict, connection, expected, system.topics, archived)
        await compare_rollups(verdict, connection, expected, archived)
        faults = await compare_faults(verdict, connection, expected, system.judged, now)
        alerts = await read_log(system.servers, [system.topics.alert])
        await compare_alerts(verdict, connection, faults, alerts, system.most_copies)
    finally:
        await connection.close()
    await _compare_answers(verdict, system, expected, faults)
    return verdict


async def _compare_answers(
    verdict: Verdict, system: System, expected: Expected, faults: Sequence[asyncpg.Record]
) -> None:
    try:
        async with httpx.AsyncClient(base_url=system.api_url, timeout=20) as client:
            await compare_answers(verdict, client, expected, system.judged, system.ends, faults)
    except httpx.HTTPError as error:
        verdict.require(f"answer: {error!r}", holds=False)


def _compare_journal(
    verdict: Verdict, log: Sequence[LogRecord], journal: Sequence[Acknowledged], changes: DeliberateChanges
) -> None:
    kept = {(*each.id, each.value) for each in log}
    record_ids = [(*each.partition, each.offset) for each in journal]
    missing = [
        each
        for each, record_id in zip(journal, record_ids, strict=True)
        if record_id not in changes.unread and (*record_id, each.value) not in kept
    ]
    verdict.add(lost=len(missing), what="acknowledged, but not in Kafka's log")
