"""`python -m consumer offsets`: where each partition stands, and the decisions nobody makes but an operator."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import msgspec
import typer
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment

from consumer.commands.common import Partition, Refused, Topic, Yes, confirm, connect, run, table
from consumer.settings import ConsumerSettings
from consumer.storage.gaps import gap_between
from consumer.topic_registry import kinds
from sql.queries import queries

app = typer.Typer(no_args_is_help=True, help="Where each partition stands, and where it continues.")
HEADER = ("topic", "partition", "next offset", "log begins", "log ends", "behind", "held by", "state")


@dataclass(frozen=True, slots=True)
class Standing:
    """One partition: what the database has stored, what Kafka's log holds, and which member of the group has it."""

    topic: str
    partition: int
    stored: int
    beginning: int
    end: int
    held_by: str | None

    @property
    def gap(self) -> str | None:
        """Why nobody may go on by himself, if so."""
        return gap_between(self.stored, self.beginning, self.end)


@app.command()
def show(as_json: Annotated[bool, typer.Option("--json", help="one JSON object a partition")] = False) -> None:
    """Every partition: its stored offset, Kafka's log, how far behind, which replica holds it, gaps."""
    for standing in (found := run(_all)):
        if as_json:
            typer.echo(msgspec.json.encode(msgspec.to_builtins(standing) | {"gap": standing.gap}))
    if not as_json:
        rows = [
            (each.topic, each.partition, each.stored, each.beginning, each.end, max(0, each.end - each.stored), each.held_by,
             each.gap or "ok")
            for each in found
        ]  # fmt: skip
        typer.echo(table(HEADER, rows))


@app.command()
def accept_gap(topic: Topic, partition: Partition, yes: Yes = False) -> None:
    """Go on at the beginning of Kafka's log, though what the stored offset points to is not there any more.

    A replica that has halted the partition goes on within ten seconds.
    """

    async def accept(settings: ConsumerSettings) -> None:
        standing = await _one(settings, topic, partition)
        if standing.gap is None:
            raise Refused(
                f"{topic}-{partition} has no gap: offset {standing.stored} is in the log; nothing was changed"
            )
        confirm(
            f"{topic}-{partition}: {standing.gap}.\nIt will continue at offset {standing.beginning}, the first one there. "
            "Readings that are gone from Kafka are not brought back by this.",
            yes=yes,
        )
        await _move(settings, standing, standing.beginning, f"gap accepted: {standing.gap}")

    run(accept)


@app.command()
def reset(
    topic: Topic,
    partition: Partition,
    to: Annotated[str, typer.Option(help="an offset, `beginning`, `end`, or an instant (RFC 3339 with an offset)")],
    yes: Yes = False,
) -> None:
    """Let a partition continue elsewhere. Refused while a replica holds it: stop the consumers first.

    Going back is harmless: what is stored already is counted as duplicate. Going forward skips records for good.
    """

    async def move(settings: ConsumerSettings) -> None:
        standing = await _one(settings, topic, partition)
        if standing.held_by:
            raise Refused(
                f"{topic}-{partition} is held by {standing.held_by}; stop the consumers first; nothing was changed"
            )
        target = await _target(settings, standing, to)
        if not standing.beginning <= target <= standing.end:
            raise Refused(f"offset {target} is not in the log, which holds {standing.beginning} to {standing.end}")
        skipped, again = max(0, target - standing.stored), max(0, min(standing.stored, standing.end) - target)
        confirm(
            f"{topic}-{partition} stands at {standing.stored} and will continue at {target}: "
            f"{skipped} records are skipped and never stored, {again} are read again and counted as duplicates.",
            yes=yes,
        )
        await _move(settings, standing, target, f"reset to {to}")

    run(move)


async def _move(settings: ConsumerSettings, standing: Standing, target: int, reason: str) -> None:
    connection = await connect(settings)
    try:
        moved = await queries.move_offset(
            connection,
            consumer_group=settings.kafka_group_id,
            topic=standing.topic,
            partition=standing.partition,
            expected_offset=standing.stored,
            to_offset=target,
            reason=reason,
        )
    finally:
        await connection.close()
    if moved is None:
        raise Refused(f"{standing.topic}-{standing.partition} has moved meanwhile; nothing was changed, look again")
    typer.echo(f"{standing.topic}-{standing.partition} continues at {target}", err=True)


async def _target(settings: ConsumerSettings, standing: Standing, to: str) -> int:
    if to in {"beginning", "end"}:
        return standing.beginning if to == "beginning" else standing.end
    if to.isdigit():
        return int(to)
    try:
        instant = datetime.fromisoformat(to)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise Refused(f"--to must be an offset, `beginning`, `end` or an instant with an offset; found {to!r}")
    partition = TopicPartition(standing.topic, standing.partition)
    async with _kafka(settings) as consumer:
        found = (await consumer.offsets_for_times({partition: int(instant.timestamp() * 1000)}))[partition]
    return found.offset if found else standing.end


async def _one(settings: ConsumerSettings, topic: str, partition: int) -> Standing:
    for standing in await _all(settings):
        if (standing.topic, standing.partition) == (topic, partition):
            return standing
    raise Refused(f"group {settings.kafka_group_id} has never read {topic}-{partition}, or it is not in Kafka")


async def _all(settings: ConsumerSettings) -> list[Standing]:
    connection = await connect(settings)
    try:
        stored = {
            TopicPartition(row["topic"], row["partition"]): row["next_offset"]
            async for row in queries.all_offsets(connection, consumer_group=settings.kafka_group_id)
        }
    finally:
        await connection.close()
    there, holders = await _layout(settings)
    present = [each for each in stored if each in there]
    async with _kafka(settings) as consumer:
        beginnings, ends = await consumer.beginning_offsets(present), await consumer.end_offsets(present)
    return [
        Standing(each.topic, each.partition, stored[each], beginnings[each], ends[each], holders.get(each))
        for each in present
    ]


async def _layout(settings: ConsumerSettings) -> tuple[set[TopicPartition], dict[TopicPartition, str]]:
    """The partitions of our topics that exist, and which member of the group has which."""
    admin = AIOKafkaAdminClient(**settings.client_options())
    await admin.start()
    try:
        topics = set(await admin.list_topics()) & kinds(settings).keys()
        described = await admin.describe_topics(sorted(topics)) if topics else []
        groups = await admin.describe_consumer_groups([settings.kafka_group_id])
    finally:
        await admin.close()
    there = {TopicPartition(each["topic"], part["partition"]) for each in described for part in each["partitions"]}
    members = [member for answer in groups for group in answer.groups for member in group[5]]
    return there, dict(_holdings(members))


def _holdings(members: list[Any]) -> Iterator[tuple[TopicPartition, str]]:
    for member, _, host, _, assigned, *_ in members:
        if assigned:
            for topic, partitions in ConsumerProtocolMemberAssignment.decode(assigned).assignment:
                for partition in partitions:
                    yield TopicPartition(topic, partition), f"{member}@{host.removeprefix('/')}"


@asynccontextmanager
async def _kafka(settings: ConsumerSettings) -> AsyncIterator[Any]:
    consumer = AIOKafkaConsumer(**settings.client_options(), enable_auto_commit=False)
    try:
        await consumer.start()
        # aiokafka cannot stop a client whose tasks have not begun: with nothing to ask it is stopped at once.
        await asyncio.sleep(0)
        yield consumer
    finally:
        await consumer.stop()
