"""Months beyond the retention: archive -> detach -> compare -> drop. An interrupted run is resumed by the next one.

A month is dropped only when its archive holds the same as its tables, compared after they were detached and can no longer change.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from sql.archive.atomic_files import in_thread, remove_partial_files
from sql.archive.export import export_source
from sql.archive.manifest import (
    ENERGY_COLUMNS,
    MANIFEST_NAME,
    ArchivedFile,
    ArchiveError,
    Contents,
    Manifest,
    choose_directory,
    read_manifest,
    write_manifest,
)
from sql.archive.source import Source, source_contents
from sql.archive.verify import verify_file
from sql.partitions import Month, Partition, expired, list_months
from sql.queries import queries

log = structlog.get_logger(__name__)


async def drop_expired_months(connection: Any, now: datetime, retention_days: int, root: Path | None) -> list[str]:
    """Drop every month of which all readings are older than the retention, after archiving it when `root` is given.

    Args:
        connection: of the schema's owner, not in a transaction; its lock_timeout bounds how long each step waits.
        now: the server's clock.
        retention_days: how long readings are kept.
        root: directory for archives; None drops without archiving.

    Returns:
        The months that were dropped, like 2025-09.

    Raises:
        ArchiveError: an archive does not hold what the table holds; the month is kept.
        OSError: the directory is not writable; the month is kept.
        asyncpg.LockNotAvailableError: a table is in use; the next round tries again.
    """
    months = await list_months(connection)
    due = expired(months, now, retention_days)
    for month in months:
        if month not in due:
            await _reattach(connection, month)
    for month in due:
        archive = await _archive_month(connection, month, root) if root else None
        await _detach(connection, month)
        contents = await _compare(connection, month, archive)
        await _drop(connection, month, archive, contents)
    return [month.label for month in due]


@dataclass(slots=True)
class _OpenArchive:
    """The directory of a month that is being archived, and its manifest so far."""

    directory: Path
    manifest: Manifest

    def file_of(self, history: str) -> ArchivedFile | None:
        return next((each for each in self.manifest.files if each.history == history), None)

    def put(self, file: ArchivedFile) -> None:
        """Add a file to the manifest, replacing an older one of the same history."""
        others = [each for each in self.manifest.files if each.history != file.history]
        self.manifest = Manifest(
            month=self.manifest.month,
            written_at=datetime.now(UTC),
            database=self.manifest.database,
            server=self.manifest.server,
            files=sorted([*others, file], key=lambda each: each.history),
        )
        write_manifest(self.directory, self.manifest)


async def _archive_month(connection: Any, month: Month, root: Path) -> _OpenArchive | None:
    """Export each history of a month that has readings; None when none has."""
    archive: _OpenArchive | None = None
    for table in _histories(month):
        if await connection.fetchrow(f'TABLE "{table.name}" LIMIT 1') is None:
            continue
        archive = archive or await _open_archive(connection, month, root)
        stored = archive.file_of(table.parent)
        if stored is None or not await in_thread(lambda a=archive, s=stored: _is_intact(a, s)):  # type: ignore[misc]
            source = Source.of_table(table.parent, table.name)
            archive.put(await export_source(connection, source, archive.directory))
    return archive


async def _open_archive(connection: Any, month: Month, root: Path) -> _OpenArchive:
    taken = {row["archived_in"] async for row in queries.archive_directories(connection, month=month.first)}
    database = await queries.database_identity(connection)
    directory = choose_directory(root, month.label, taken)
    directory.mkdir(parents=True, exist_ok=True)
    remove_partial_files(directory)
    if not (directory / MANIFEST_NAME).exists():
        manifest = Manifest(
            month=month.first,
            written_at=datetime.now(UTC),
            database=database["identity"],
            server=database["server"],
            files=[],
        )
        return _OpenArchive(directory, manifest)
    manifest = read_manifest(directory).manifest
    if manifest.database != database["identity"]:
        raise ArchiveError(
            f"{directory} holds the archive of another database ({manifest.database}, this is {database['identity']}): "
            "give each its own ARCHIVE_DIRECTORY"
        )
    return _OpenArchive(directory, manifest)


def _is_intact(archive: _OpenArchive, stored: ArchivedFile) -> bool:
    """Whether a file of an earlier attempt matches its manifest; _compare() checks whether it is up to date."""
    try:
        verify_file(archive.directory / stored.file, stored)
    except ArchiveError as error:
        log.warning("archive_file_invalid", reason=str(error))
        return False
    return True


async def _detach(connection: Any, month: Month) -> None:
    """Make the month's tables unreachable for writers. Readers and writers of other months are not blocked."""
    for table in month.partitions:
        if table.pending:
            await _finish_detaching(connection, table)
        elif table.attached:
            await connection.execute(f'ALTER TABLE "{table.parent}" DETACH PARTITION "{table.name}" CONCURRENTLY')


async def _finish_detaching(connection: Any, table: Partition) -> None:
    await connection.execute(f'ALTER TABLE "{table.parent}" DETACH PARTITION "{table.name}" FINALIZE')


async def _compare(connection: Any, month: Month, archive: _OpenArchive | None) -> dict[str, Contents]:
    """What each history of a detached month holds; exports again where readings were written after the first export."""
    contents: dict[str, Contents] = {}
    for table in _histories(month):
        source = Source.of_table(table.parent, table.name)
        found = contents[table.parent] = await source_contents(connection, source)
        if archive is None:
            continue
        stored = archive.file_of(table.parent)
        if not found.readings or (stored and stored.contents == found):
            continue
        if stored and found.readings < stored.contents.readings:
            raise ArchiveError(
                f"{table.name} holds {found.readings} readings, {archive.directory / stored.file} {stored.contents.readings}: "
                "find out what has removed some; move the directory elsewhere to archive the remaining readings"
            )
        log.info("archive_out_of_date", table=table.name, readings=found.readings, reason="written to after its export")
        file = await export_source(connection, source, archive.directory)
        if file.contents != found:
            raise ArchiveError(f"{table.name} holds {found}, its archive {file.contents}: the month is kept")
        archive.put(file)
    return contents


async def _drop(connection: Any, month: Month, archive: _OpenArchive | None, contents: dict[str, Contents]) -> None:
    archived_in = archive.directory.name if archive else None
    async with connection.transaction():
        for table in month.partitions:
            await connection.execute(f'DROP TABLE "{table.name}"')
        for history, found in contents.items():
            if found.readings:
                await queries.insert_retired_month(
                    connection,
                    history=history,
                    month=month.first,
                    readings=found.readings,
                    derived=found.derived,
                    archived_in=archived_in,
                )
        await queries.delete_late_hours(connection, opens=month.opens, closes=month.closes)
        await queries.delete_reindex_records(connection, parts=[table.name for table in month.partitions])
    readings = {history: found.readings for history, found in contents.items()}
    log.info("month_dropped", month=month.label, archived_in=archived_in, readings=readings)


async def _reattach(connection: Any, month: Month) -> None:
    """Attach tables that were detached under a shorter retention than today's."""
    for table in month.partitions:
        if table.attached and not table.pending:
            continue
        if table.pending:
            await _finish_detaching(connection, table)
        await connection.execute(
            f'ALTER TABLE "{table.parent}" ATTACH PARTITION "{table.name}" '
            f"FOR VALUES FROM ('{month.opens.isoformat()}') TO ('{month.closes.isoformat()}')"
        )
        log.info("partition_reattached", table=table.name, reason="it is within RETENTION_DAYS again")


def _histories(month: Month) -> list[Partition]:
    return [table for table in month.partitions if table.parent in ENERGY_COLUMNS]
