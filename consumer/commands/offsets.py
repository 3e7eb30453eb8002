"""`python -m consumer offsets`: commands that show and move the stored offset of a partition."""

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

from consumer.commands.runner import CommandError, Partition, Topic, Yes, confirm, connect, run, table
from consumer.settings import ConsumerSettings
from consumer.storage.offsets import gap_between
from consumer.topic_registry import record_types_by_topic
from sql.queries import queries

app = typer.Typer(no_args_is_help=True, help="Stored offsets: where the reading of each partition continues.")
HEADER = ("topic", "partition", "next offset", "log start", "log end", "lag", "held by", "state")


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One partition: its stored offset, the range [beginning, end) of Kafka's log, and the group member that reads it."""

    topic: str
    partition: int
    stored: int
    beginning: int
    end: int
    held_by: str | None
    halt_reason: str | None

    @property
    def gap(self) -> str | None:
        """Why reading cannot continue without an operator's decision; None when it can."""
        return self.halt_reason or gap_between(self.stored, self.beginning, self.end)


@app.command()
def show(as_json: Annotated[bool, typer.Option("--json", help="one JSON object per partition")] = False) -> None:
    """List every partition: stored offset, Kafka's log, lag, the consumer that holds it, gaps."""
    statuses = run(_all_statuses)
    if as_json:
        for status in statuses:
            typer.echo(msgspec.json.encode(msgspec.to_builtins(status) | {"gap": status.gap}))
        return
    rows = [
        (each.topic, each.partition, each.stored, each.beginning, each.end, max(0, each.end - each.stored), each.held_by,
         each.gap or "ok")
        for each in statuses
    ]  # fmt: skip
    typer.echo(table(HEADER, rows))


@app.command()
def accept_gap(topic: Topic, partition: Partition, yes: Yes = False) -> None:
    """Continue at the beginning of Kafka's log although the partition is halted, or its stored offset is not in the log any more.

    A consumer that has halted the partition resumes it within seconds.
    """

    async def accept(settings: ConsumerSettings) -> None:
        status = await _status(settings, topic, partition)
        if status.gap is None:
            raise CommandError(
                f"{topic}-{partition} has no gap and is not halted: offset {status.stored} is in the log; nothing was changed"
            )
        confirm(
            f"{topic}-{partition}: {status.gap}.\nReading will continue at offset {status.beginning}, the first in the log. "
            "This does not bring back records that were deleted from Kafka.",
            yes=yes,
        )
        await _move(settings, status, status.beginning, f"gap accepted: {status.gap}")

    run(accept)


@app.command()
def reset(
    topic: Topic,
    partition: Partition,
    to: Annotated[str, typer.Option(help="an offset, `beginning`, `end`, or an instant (RFC 3339 with a UTC offset)")],
    yes: Yes = False,
) -> None:
    """Move the stored offset of a partition, and end its halt. Fails while a consumer reads it: stop the consumers first.

    Moving back is harmless: records that are stored already are counted as duplicates. Moving forward skips records for good.
    """

    async def move(settings: ConsumerSettings) -> None:
        status = await _status(settings, topic, partition)
        if status.held_by and not status.halt_reason:
            raise CommandError(
                f"{topic}-{partition} is held by {status.held_by}; stop the consumers first; nothing was changed"
            )
        target = await _target_offset(settings, status, to)
        if not status.beginning <= target <= status.end:
            raise CommandError(
                f"offset {target} is not in the log, which ranges from {status.beginning} to {status.end}"
            )
        skipped, again = max(0, target - status.stored), max(0, min(status.stored, status.end) - target)
        confirm(
            f"The stored offset of {topic}-{partition} will move from {status.stored} to {target}: "
            f"{skipped} records are skipped and never stored, {again} are read again and counted as duplicates.",
            yes=yes,
        )
        await _move(settings, status, target, f"reset to {to}")

    run(move)


async def _move(settings: ConsumerSettings, status: PartitionStatus, target: int, reason: str) -> None:
    async with connect(settings) as connection:
        moved = await queries.move_offset(
            connection,
            consumer_group=settings.kafka_group_id,
            topic=status.topic,
            partition=status.partition,
            expected_offset=status.stored,
            to_offset=target,
            other_log=status.gap is not None,
            reason=reason,
        )
    if moved is None:
        raise CommandError(
            f"the stored offset of {status.topic}-{status.partition} has moved in the meantime; "
            "nothing was changed; run the command again"
        )
    typer.echo(f"{status.topic}-{status.partition} continues at offset {target}", err=True)


async def _target_offset(settings: ConsumerSettings, status: PartitionStatus, to: str) -> int:
    if to in {"beginning", "end"}:
        return status.beginning if to == "beginning" else status.end
    if to.isdigit():
        return int(to)
    try:
        instant = datetime.fromisoformat(to)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise CommandError(f"--to must be an offset, `beginning`, `end` or an instant with a UTC offset; found {to!r}")
    partition = TopicPartition(status.topic, status.partition)
    async with _kafka_client(settings) as consumer:
        found = (await consumer.offsets_for_times({partition: int(instant.timestamp() * 1000)}))[partition]
    return found.offset if found else status.end


async def _status(settings: ConsumerSettings, topic: str, partition: int) -> PartitionStatus:
    for status in await _all_statuses(settings):
        if (status.topic, status.partition) == (topic, partition):
            return status
    raise CommandError(f"group {settings.kafka_group_id} has never read {topic}-{partition}, or Kafka does not have it")


async def _all_statuses(settings: ConsumerSettings) -> list[PartitionStatus]:
    async with connect(settings) as connection:
        stored = {
            TopicPartition(row["topic"], row["partition"]): (row["next_offset"], row["halt_reason"])
            async for row in queries.all_offsets(connection, consumer_group=settings.kafka_group_id)
        }
    existing, holders = await _describe_group(settings)
    present = [each for each in stored if each in existing]
    async with _kafka_client(settings) as consumer:
        beginnings, ends = await consumer.beginning_offsets(present), await consumer.end_offsets(present)
    return [
        PartitionStatus(
            each.topic, each.partition, next_offset, beginnings[each], ends[each], holders.get(each), halt_reason
        )
        for each in present
        for next_offset, halt_reason in (stored[each],)
    ]


async def _describe_group(settings: ConsumerSettings) -> tuple[set[TopicPartition], dict[TopicPartition, str]]:
    """The existing partitions of our topics, and the group member that holds each."""
    admin = AIOKafkaAdminClient(**settings.client_options())
    await admin.start()
    try:
        topics = set(await admin.list_topics()) & record_types_by_topic(settings).keys()
        described = await admin.describe_topics(sorted(topics)) if topics else []
        groups = await admin.describe_consumer_groups([settings.kafka_group_id])
    finally:
        await admin.close()
    existing = {TopicPartition(each["topic"], part["partition"]) for each in described for part in each["partitions"]}
    members = [member for response in groups for group in response.groups for member in group[5]]
    return existing, dict(_holders(members))


def _holders(members: list[Any]) -> Iterator[tuple[TopicPartition, str]]:
    for member, _, host, _, assigned, *_ in members:
        if assigned:
            for topic, partitions in ConsumerProtocolMemberAssignment.decode(assigned).assignment:
                for partition in partitions:
                    yield TopicPartition(topic, partition), f"{member}@{host.removeprefix('/')}"


@asynccontextmanager
async def _kafka_client(settings: ConsumerSettings) -> AsyncIterator[Any]:
    consumer = AIOKafkaConsumer(**settings.client_options(), enable_auto_commit=False)
    try:
        await consumer.start()
        # aiokafka cannot stop a client whose tasks have not begun, which happens when there is nothing to ask it.
        await asyncio.sleep(0)
        yield consumer
    finally:
        await consumer.stop()
