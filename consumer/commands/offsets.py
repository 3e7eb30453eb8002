"""`python -m consumer offsets`: commands that show and move the stored offset of a partition."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec
import typer
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from consumer.commands.runner import CommandError, Partition, Topic, Yes, confirm, connect, retry_kafka, run, table
from consumer.kafka.client import groupless_client
from consumer.kafka.group_members import describe_group
from consumer.kafka.log_offsets import LogRange, explain, log_ranges
from consumer.records.record import record_hash
from consumer.settings import ConsumerSettings
from consumer.storage.offsets import LastRecord, gap_between, last_record_of
from consumer.topic_registry import record_types_by_topic
from sql.queries import queries

app = typer.Typer(no_args_is_help=True, help="Stored offsets: where the reading of each partition continues.")
FETCH_MS: Final = 5_000
HEADER = ("topic", "partition", "next offset", "log start", "log end", "lag", "held by", "state")


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One partition: its stored offset, Kafka's log, and the group member that holds it.

    `stored` is None when the group has never read the partition, `log` when Kafka does not serve it (`unavailable` says why).
    """

    topic: str
    partition: int
    stored: int | None
    log: LogRange | None
    unavailable: str | None
    held_by: str | None
    halt_reason: str | None
    halted_at: datetime | None
    last_record: LastRecord | None

    @property
    def name(self) -> str:
        return f"{self.topic}-{self.partition}"

    @property
    def gap(self) -> str | None:
        """Why reading cannot continue without an operator's decision; None when it can."""
        if self.halt_reason or self.stored is None or self.log is None:
            return self.halt_reason
        return gap_between(self.stored, self.log.beginning, self.log.end)

    @property
    def lag(self) -> int | None:
        """Unread records, including those behind an open transaction; None when Kafka does not serve the partition."""
        if self.log is None:
            return None
        return max(0, self.log.end - (self.log.beginning if self.stored is None else self.stored))

    @property
    def state(self) -> str:
        """`ok`, or what keeps records from being read."""
        if problem := self.gap or self.unavailable:
            since = f"halted since {self.halted_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC: " if self.halted_at else ""
            return since + problem
        if self.stored is None or self.held_by is None:
            return "never read" if self.stored is None else "not held by any consumer"
        if self.log and self.log.has_open_transaction:
            return f"an open transaction of a producer blocks records from offset {self.log.stable_end} on"
        return "ok"


@app.command()
def show(as_json: Annotated[bool, typer.Option("--json", help="one JSON object per partition")] = False) -> None:
    """List every partition of our topics: stored offset, Kafka's log, lag, the consumer that holds it, and what blocks it."""
    statuses = run(_all_statuses)
    if as_json:
        for status in statuses:
            typer.echo(msgspec.json.encode(_as_json(status)))
        return
    typer.echo(table(HEADER, [_row(status) for status in statuses]))


def _as_json(status: PartitionStatus) -> dict[str, object]:
    fields: dict[str, object] = msgspec.to_builtins(status)
    log = msgspec.to_builtins(status.log) if status.log else dict.fromkeys(("beginning", "end", "stable_end"))
    del fields["log"], fields["last_record"]
    return fields | log | {"gap": status.gap, "lag": status.lag, "state": status.state}


def _row(status: PartitionStatus) -> tuple[object, ...]:
    beginning, end = (status.log.beginning, status.log.end) if status.log else (None, None)
    return (
        status.topic,
        status.partition,
        status.stored,
        beginning,
        end,
        status.lag,
        status.held_by,
        status.state,
    )


@app.command()
def accept_gap(topic: Topic, partition: Partition, yes: Yes = False) -> None:
    """Continue at the beginning of Kafka's log although the partition is halted, or its stored offset is not in the log any more.

    A consumer that has halted the partition resumes it within seconds.
    """

    async def accept(settings: ConsumerSettings) -> None:
        status, stored, log = await _status(settings, topic, partition)
        if status.gap is None:
            raise CommandError(
                f"{topic}-{partition} has no gap and is not halted: offset {stored} is in the log; nothing was changed"
            )
        confirm(
            f"{topic}-{partition}: {status.gap}.\nReading will continue at offset {log.beginning}, the first in the log. "
            "This does not bring back records that were deleted from Kafka.",
            yes=yes,
        )
        await _move(settings, status, log.beginning, f"gap accepted: {status.gap}")

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
        status, stored, log = await _status(settings, topic, partition)
        if status.held_by and not status.halt_reason:
            raise CommandError(
                f"{topic}-{partition} is held by {status.held_by}; stop the consumers first; nothing was changed"
            )
        target = await _target_offset(settings, TopicPartition(topic, partition), log, to)
        if not log.beginning <= target <= log.end:
            raise CommandError(f"offset {target} is not in the log, which ranges from {log.beginning} to {log.end}")
        skipped, again = max(0, target - stored), max(0, min(stored, log.end) - target)
        confirm(
            f"The stored offset of {topic}-{partition} will move from {stored} to {target}: "
            f"{skipped} records are skipped and never stored, {again} are read again and counted as duplicates.",
            yes=yes,
        )
        await _move(settings, status, target, f"reset to {to}", other_log=await _is_other_log(settings, status))

    run(move)


async def _move(
    settings: ConsumerSettings, status: PartitionStatus, target: int, reason: str, *, other_log: bool = False
) -> None:
    async with connect(settings) as connection:
        moved = await queries.move_offset(
            connection,
            consumer_group=settings.kafka_group_id,
            topic=status.topic,
            partition=status.partition,
            expected_offset=status.stored,
            to_offset=target,
            other_log=other_log or status.gap is not None,
            reason=reason,
        )
    if moved is None:
        raise CommandError(
            f"the stored offset of {status.name} has moved in the meantime; nothing was changed; run the command again"
        )
    typer.echo(f"{status.name} continues at offset {target}", err=True)


@retry_kafka
async def _is_other_log(settings: ConsumerSettings, status: PartitionStatus) -> bool:
    """Whether Kafka has another record than the last one taken, or none, at its offset; False where there is none to compare."""
    last, log = status.last_record, status.log
    if last is None or last.hash is None or log is None or not log.beginning <= last.offset < log.end:
        return False
    partition = TopicPartition(status.topic, status.partition)
    async with groupless_client(settings) as client:
        client.assign([partition])
        client.seek(partition, last.offset)
        try:
            found = (await client.getmany(partition, timeout_ms=FETCH_MS, max_records=1)).get(partition, [])
        except OffsetOutOfRangeError:
            return False
        position = await client.position(partition)
    if position == last.offset:
        raise CommandError(
            f"Kafka has not returned offset {last.offset} of {status.name}, so that it is unknown whether the log is still the "
            "one that was read; nothing was changed; run the command again"
        )
    return not found or (found[0].offset, record_hash(found[0])) != (last.offset, last.hash)


async def _target_offset(settings: ConsumerSettings, partition: TopicPartition, log: LogRange, to: str) -> int:
    if to in {"beginning", "end"}:
        return log.beginning if to == "beginning" else log.end
    if to.isdigit():
        return int(to)
    try:
        instant = datetime.fromisoformat(to)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise CommandError(f"--to must be an offset, `beginning`, `end` or an instant with a UTC offset; found {to!r}")
    found = await _offset_at(settings, partition, instant)
    return log.end if found is None else found


@retry_kafka
async def _offset_at(settings: ConsumerSettings, partition: TopicPartition, instant: datetime) -> int | None:
    """The offset of the first record at or after `instant`; None when there is none."""
    async with groupless_client(settings) as client:
        found = (await client.offsets_for_times({partition: int(instant.timestamp() * 1000)}))[partition]
    return found.offset if found else None


async def _status(settings: ConsumerSettings, topic: str, partition: int) -> tuple[PartitionStatus, int, LogRange]:
    """A partition that has been read and that Kafka serves, with its stored offset and its log."""
    for status in await _all_statuses(settings):
        if (status.topic, status.partition) == (topic, partition) and status.stored is not None:
            if status.log is None:
                raise CommandError(f"{topic}-{partition}: {status.unavailable}; nothing was changed")
            return status, status.stored, status.log
    raise CommandError(f"group {settings.kafka_group_id} has never read {topic}-{partition}, or Kafka does not have it")


async def _all_statuses(settings: ConsumerSettings) -> list[PartitionStatus]:
    async with connect(settings) as connection:
        stored = {
            TopicPartition(row["topic"], row["partition"]): row
            async for row in queries.all_offsets(connection, consumer_group=settings.kafka_group_id)
        }
    holders = (await retry_kafka(describe_group)(settings)).holders()
    logs, failed = await _logs(settings)
    return [
        PartitionStatus(
            each.topic,
            each.partition,
            row and row["next_offset"],
            logs.get(each),
            explain(failed[each]) if each in failed else None,
            f"{holders[each].member_id}@{holders[each].host}" if each in holders else None,
            row and row["halt_reason"],
            row and row["halted_at"],
            row and last_record_of(row),
        )
        for each in sorted(logs.keys() | failed.keys())
        for row in (stored.get(each),)
    ]


@retry_kafka
async def _logs(settings: ConsumerSettings) -> tuple[dict[TopicPartition, LogRange], dict[TopicPartition, KafkaError]]:
    """The log of every partition of our topics, or why its leader serves none."""
    async with groupless_client(settings) as client:
        partitions = [
            TopicPartition(topic, partition)
            for topic in record_types_by_topic(settings)
            for partition in client.partitions_for_topic(topic) or ()
        ]
        return await log_ranges(client, partitions)
