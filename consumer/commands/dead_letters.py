"""`python -m consumer dead-letters`: look at refused records, replay them with today's code, or discard them."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Annotated, Any, Final

import msgspec
import typer

from consumer.commands.common import SETTINGS, Partition, Refused, Topic, Yes, confirm, connect, run, table
from consumer.records.batch import Batch, DeadLetter
from consumer.records.decode import Decoder
from consumer.records.record_type import RecordType
from consumer.records.rows import RowBuffer
from consumer.settings import ConsumerSettings
from consumer.storage.store import FencedError, Store
from consumer.topic_registry import kinds
from schemas.records.readings import Reason, TimeLimits
from sql.connection import pool
from sql.queries import queries

app = typer.Typer(no_args_is_help=True, help="Records that could not become what their topic carries.")
AT_ONCE: Final = 1000

OfTopic = Annotated[str | None, typer.Option(help="only of this topic")]
OfReason = Annotated[Reason | None, typer.Option(help="only with this reason")]
Since = Annotated[
    datetime | None, typer.Option(help="rejected at or after, UTC", formats=["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d"])
]
Before = Annotated[
    datetime | None, typer.Option(help="rejected before, UTC", formats=["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d"])
]


@app.command(name="list")
def list_letters(
    topic: OfTopic = None,
    reason: OfReason = None,
    since: Since = None,
    before: Before = None,
    resolved: Annotated[bool, typer.Option("--resolved", help="those replayed or discarded as well")] = False,
    limit: Annotated[int, typer.Option(min=1)] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a letter")] = False,
) -> None:
    """Count the unresolved letters by topic and reason, then show the oldest."""
    chosen = _chosen(topic, reason, since, before)

    async def read(settings: ConsumerSettings) -> tuple[list[Any], list[Any]]:
        connection = await connect(settings)
        try:
            given = chosen | {"consumer_group": settings.kafka_group_id}
            counts = [row async for row in queries.count_letters(connection, **given)]
            letters = [
                row async for row in queries.list_letters(connection, **given, resolved=resolved, row_limit=limit)
            ]
        finally:
            await connection.close()
        return counts, letters

    counts, letters = run(read)
    if as_json:
        for letter in letters:
            typer.echo(msgspec.json.encode(_plain(letter)))
        return
    typer.echo(table(("topic", "reason", "unresolved", "first", "last"), (tuple(row) for row in counts)))
    typer.echo("")
    typer.echo(
        table(
            ("topic", "partition", "offset", "rejected", "reason", "detail", "resolution"),
            ((row["topic"], row["partition"], row["offset"], row["rejected_at"], row["reason"], row["detail"][:80],
              row["resolution"]) for row in letters),
        )
    )  # fmt: skip


@app.command()
def show(topic: Topic, partition: Partition, offset: Annotated[int, typer.Argument(min=0)]) -> None:
    """One letter whole, as JSON; bytes that are no text are given in hexadecimal."""

    async def read(settings: ConsumerSettings) -> Any:
        connection = await connect(settings)
        try:
            return await queries.letter(
                connection, consumer_group=settings.kafka_group_id, topic=topic, partition=partition, offset=offset
            )
        finally:
            await connection.close()

    letter = run(read)
    if letter is None:
        typer.echo(f"{topic}-{partition} has no dead letter at offset {offset}", err=True)
        raise typer.Exit(1)
    typer.echo(msgspec.json.format(msgspec.json.encode(_plain(letter))))


@app.command()
def replay(
    topic: OfTopic = None, reason: OfReason = None, since: Since = None, before: Before = None, yes: Yes = False
) -> None:
    """Decode letters with today's code and write those that are good now, each exactly once; the others stay."""
    chosen = _chosen(topic, reason, since, before)

    async def work(settings: ConsumerSettings) -> None:
        letters = await _unresolved(settings, chosen)
        confirm(f"{len(letters)} letters will be decoded again.", yes=yes)
        decoders = {topic: Decoder(record_type) for topic, record_type in kinds(settings).items()}
        written = duplicates = 0
        async with pool(settings.database_url, size=2, server_settings=SETTINGS, command_timeout=65) as database:
            store = Store(database, settings.kafka_group_id)
            for start in range(0, len(letters), AT_ONCE):
                batch = _decoded(letters[start : start + AT_ONCE], decoders, settings)
                try:
                    outcome = await store.replay(batch)
                except FencedError:
                    raise Refused("somebody else resolves letters at the same time; run it again") from None
                written += outcome.written.total()
                duplicates += outcome.duplicates.total()
                typer.echo(f"{min(start + AT_ONCE, len(letters))} of {len(letters)} looked at", err=True)
        refused = len(letters) - written - duplicates
        typer.echo(f"{written} are written, {duplicates} were stored already, {refused} are still refused", err=True)

    run(work)


@app.command()
def discard(
    topic: OfTopic = None, reason: OfReason = None, since: Since = None, before: Before = None, yes: Yes = False
) -> None:
    """Settle letters without storing them. They stay in the ledger as dead letters; retention removes them later."""
    chosen = _chosen(topic, reason, since, before)

    async def work(settings: ConsumerSettings) -> None:
        letters = await _unresolved(settings, chosen)
        confirm(f"{len(letters)} letters will be discarded; none of them becomes a reading any more.", yes=yes)
        connection = await connect(settings)
        try:
            done = [
                row
                async for row in queries.resolve_letters(
                    connection,
                    consumer_group=settings.kafka_group_id,
                    topics=[each["topic"] for each in letters],
                    partitions=[each["partition"] for each in letters],
                    offsets=[each["offset"] for each in letters],
                    how="discarded",
                )
            ]
        finally:
            await connection.close()
        typer.echo(f"{len(done)} letters are discarded", err=True)

    run(work)


def _chosen(
    topic: str | None, reason: Reason | None, since: datetime | None, before: datetime | None
) -> dict[str, Any]:
    return {
        "topic": topic,
        "reason": reason.value if reason else None,
        "since": since and since.replace(tzinfo=UTC),
        "before": before and before.replace(tzinfo=UTC),
    }


async def _unresolved(settings: ConsumerSettings, chosen: dict[str, Any]) -> list[Any]:
    connection = await connect(settings)
    try:
        given = chosen | {"consumer_group": settings.kafka_group_id, "resolved": False, "row_limit": None}
        letters = [row async for row in queries.list_letters(connection, **given)]
    finally:
        await connection.close()
    if not letters:
        raise Refused("no unresolved letter fits; nothing was changed")
    return letters


def _decoded(letters: list[Any], decoders: dict[str, Decoder], settings: ConsumerSettings) -> Batch:
    limits = TimeLimits.at(datetime.now(UTC), settings.retention_days)
    buffer: dict[RecordType, RowBuffer] = {}
    refused: list[DeadLetter] = []
    for record in map(_record, letters):
        if record.topic not in decoders:
            raise Refused(f"{record.topic} is none of the topics that the settings name; choose letters with --topic")
        decoder = decoders[record.topic]
        decoded = decoder.decode([record], limits)
        buffer.setdefault(decoder.record_type, RowBuffer()).add(decoded.rows, decoded.records)
        refused += decoded.dead_letters
    return Batch({}, buffer, refused)


def _record(letter: Any) -> Any:
    """The letter as the record it was."""
    names = ("topic", "partition", "offset", "key", "value")
    return SimpleNamespace(**{name: letter[name] for name in names})


def _plain(letter: Any) -> dict[str, Any]:
    return {name: _readable(value) if isinstance(value, bytes) else value for name, value in letter.items()}


def _readable(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.hex(" ")
