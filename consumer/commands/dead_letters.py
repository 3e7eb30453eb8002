"""`python -m consumer dead-letters`: commands that list dead letters, replay them with the current code, or discard them."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import groupby, islice
from operator import itemgetter
from typing import Annotated, Any, Final

import msgspec
import typer
from aiokafka import TopicPartition

from consumer.commands.runner import (
    SESSION_SETTINGS,
    CommandError,
    Partition,
    Topic,
    Yes,
    confirm,
    connect,
    run,
    table,
)
from consumer.formats.decoders import open_decoders
from consumer.formats.errors import RegistryUnavailableError
from consumer.records.batch import Batch, DeadLetter
from consumer.records.decode import Decoder
from consumer.records.record import Record
from consumer.records.record_type import RecordType
from consumer.records.row_buffer import RowBuffer
from consumer.settings import ConsumerSettings
from consumer.storage.dead_letters import replay_dead_letters
from consumer.storage.errors import FencedError
from consumer.topic_registry import record_types_by_topic
from schemas.records.readings import Reason, TimeLimits
from sql.connection import pool
from sql.queries import queries

app = typer.Typer(
    no_args_is_help=True, help="Dead letters: records that could not be stored as what their topic carries."
)
DEAD_LETTERS_PER_TRANSACTION: Final = 1000
NO_TIMESTAMP: Final = -1  # as in Kafka; a replay does not use timestamps

OfTopic = Annotated[str | None, typer.Option(help="only dead letters of this topic")]
OfReason = Annotated[Reason | None, typer.Option(help="only dead letters with this reason")]
Since = Annotated[
    datetime | None, typer.Option(help="rejected at or after, UTC", formats=["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d"])
]
Before = Annotated[
    datetime | None, typer.Option(help="rejected before, UTC", formats=["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d"])
]


@app.command(name="list")
def list_dead_letters(
    topic: OfTopic = None,
    reason: OfReason = None,
    since: Since = None,
    before: Before = None,
    resolved: Annotated[bool, typer.Option("--resolved", help="include replayed and discarded dead letters")] = False,
    limit: Annotated[int, typer.Option(min=1)] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object per dead letter")] = False,
) -> None:
    """Count the unresolved dead letters by topic and reason, then list the oldest."""
    selection = _selection(topic, reason, since, before)

    async def read(settings: ConsumerSettings) -> tuple[list[Any], list[Any]]:
        async with connect(settings) as connection:
            filters = selection | {"consumer_group": settings.kafka_group_id}
            counts = [row async for row in queries.count_letters(connection, **filters)]
            listed = queries.list_letters(connection, **filters, resolved=resolved, row_limit=limit)
            return counts, [row async for row in listed]

    counts, letters = run(read)
    if as_json:
        for letter in letters:
            typer.echo(msgspec.json.encode(_printable(letter)))
        return
    typer.echo(table(("topic", "reason", "unresolved", "first", "last"), (tuple(row) for row in counts)))
    typer.echo("")
    typer.echo(
        table(
            ("topic", "partition", "offset", "incarnation", "rejected", "reason", "detail", "resolution"),
            ((row["topic"], row["partition"], row["offset"], row["incarnation"], row["rejected_at"], row["reason"],
              row["detail"][:80], row["resolution"]) for row in letters),
        )
    )  # fmt: skip


@app.command()
def show(
    topic: Topic,
    partition: Partition,
    offset: Annotated[int, typer.Argument(min=0)],
    incarnation: Annotated[int | None, typer.Option(help="of the log, as `list` has it; without it the newest")] = None,
) -> None:
    """Print one dead letter as JSON; a key or value that is not text is printed in hexadecimal."""

    async def read(settings: ConsumerSettings) -> dict[int, Any]:
        place = {"topic": topic, "partition": partition, "offset": offset}
        async with connect(settings) as connection:
            found = queries.letters_at(connection, consumer_group=settings.kafka_group_id, **place)
            letters = {row["incarnation"]: row async for row in found}
        if not letters or incarnation not in {None, *letters}:
            of_log = "" if incarnation is None else f" of incarnation {incarnation}"
            raise CommandError(f"{topic}-{partition} has no dead letter{of_log} at offset {offset}")
        return letters

    letters = run(read)
    shown = max(letters) if incarnation is None else incarnation
    if others := letters.keys() - {shown}:
        numbers = ", ".join(map(str, sorted(others)))
        typer.echo(
            f"of incarnation {shown} of the log; this offset has others as well: --incarnation {numbers}", err=True
        )
    typer.echo(msgspec.json.format(msgspec.json.encode(_printable(letters[shown]))))


@app.command()
def replay(
    topic: OfTopic = None, reason: OfReason = None, since: Since = None, before: Before = None, yes: Yes = False
) -> None:
    """Decode dead letters with the current code and store those that are valid now, each exactly once; the others stay."""
    selection = _selection(topic, reason, since, before)

    async def replay_all(settings: ConsumerSettings) -> None:
        letters = _with_content(await _unresolved(settings, selection))
        confirm(f"{len(letters)} dead letters will be decoded again.", yes=yes)
        written = duplicates = done = 0
        async with (
            open_decoders(settings, record_types_by_topic(settings)) as decoders,
            pool(settings.database_url, size=2, server_settings=SESSION_SETTINGS, command_timeout=65) as database,
        ):
            for incarnation, chunk in _chunks(letters):
                batch = await _decode(chunk, decoders, settings)
                try:
                    result = await replay_dead_letters(database, settings.kafka_group_id, incarnation, batch)
                except FencedError:
                    raise CommandError(
                        "another process is resolving dead letters at the same time; run the command again"
                    ) from None
                written += result.written.total()
                duplicates += result.duplicates.total()
                done += len(chunk)
                typer.echo(f"{done} of {len(letters)} dead letters processed", err=True)
        rejected = len(letters) - written - duplicates
        typer.echo(f"written: {written}, duplicates: {duplicates}, still rejected: {rejected}", err=True)

    run(replay_all)


@app.command()
def discard(
    topic: OfTopic = None, reason: OfReason = None, since: Since = None, before: Before = None, yes: Yes = False
) -> None:
    """Resolve dead letters without storing them. The ledger still counts them as dead letters; retention deletes them later."""
    selection = _selection(topic, reason, since, before)

    async def discard_all(settings: ConsumerSettings) -> None:
        letters = await _unresolved(settings, selection)
        confirm(f"{len(letters)} dead letters will be discarded and cannot be replayed afterwards.", yes=yes)
        async with connect(settings) as connection:
            count = 0
            for incarnation, chunk in _chunks(letters):
                discarded = queries.resolve_letters(
                    connection,
                    consumer_group=settings.kafka_group_id,
                    topics=[each["topic"] for each in chunk],
                    partitions=[each["partition"] for each in chunk],
                    offsets=[each["offset"] for each in chunk],
                    incarnation=incarnation,
                    how="discarded",
                )
                count += len([row async for row in discarded])
        typer.echo(f"dead letters discarded: {count}", err=True)

    run(discard_all)


def _selection(
    topic: str | None, reason: Reason | None, since: datetime | None, before: datetime | None
) -> dict[str, Any]:
    return {
        "topic": topic,
        "reason": reason.value if reason else None,
        "since": since and since.replace(tzinfo=UTC),
        "before": before and before.replace(tzinfo=UTC),
    }


async def _unresolved(settings: ConsumerSettings, selection: dict[str, Any]) -> list[Any]:
    async with connect(settings) as connection:
        filters = selection | {"consumer_group": settings.kafka_group_id, "resolved": False, "row_limit": None}
        letters = [row async for row in queries.list_letters(connection, **filters)]
    if not letters:
        raise CommandError("no unresolved dead letter matches; nothing was changed")
    return letters


def _with_content(letters: list[Any]) -> list[Any]:
    """Those that can be decoded. Decoding the others, stored without key and value, would hide why they were rejected."""
    complete = [each for each in letters if each["value"] is not None or each["reason"] == Reason.EMPTY_VALUE]
    if missing := len(letters) - len(complete):
        typer.echo(f"{missing} dead letters are left as they are: they were stored without key and value", err=True)
    if not complete:
        raise CommandError("no dead letter can be replayed; nothing was changed")
    return complete


def _chunks(letters: list[Any]) -> Iterator[tuple[int, list[Any]]]:
    """Dead letters for one transaction each, with the incarnation of the log that they share."""
    by_incarnation = itemgetter("incarnation")
    for incarnation, group in groupby(sorted(letters, key=by_incarnation), by_incarnation):
        while chunk := list(islice(group, DEAD_LETTERS_PER_TRANSACTION)):
            yield incarnation, chunk


async def _decode(letters: list[Any], decoders: dict[str, Decoder], settings: ConsumerSettings) -> Batch:
    limits = TimeLimits.at(datetime.now(UTC), settings.retention_days)
    rows_by_type: dict[RecordType, RowBuffer] = {}
    dead_letters: list[DeadLetter] = []
    for record in map(_record, letters):
        topic = record.topic_partition.topic
        if topic not in decoders:
            raise CommandError(f"the settings do not name the topic {topic}; select dead letters with --topic")
        decoder = decoders[topic]
        if unknown := decoder.first_unknown([record]):
            try:
                await unknown.load()
            except RegistryUnavailableError as error:
                raise CommandError(f"the schema registry is needed: {error}; run the command again") from None
        decoded = decoder.decode([record], limits)
        rows_by_type.setdefault(decoder.record_type, RowBuffer()).add(decoded.rows, decoded.records)
        dead_letters += decoded.dead_letters
    return Batch({}, rows_by_type, dead_letters)


def _record(letter: Any) -> Record:
    """The Kafka record that a stored dead letter was."""
    partition = TopicPartition(letter["topic"], letter["partition"])
    return Record(partition, letter["offset"], NO_TIMESTAMP, letter["key"], letter["value"])


def _printable(letter: Any) -> dict[str, Any]:
    return {name: _text_or_hex(value) if isinstance(value, bytes) else value for name, value in letter.items()}


def _text_or_hex(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.hex(" ")
