"""Months of folded history beyond the retention: compute contents -> archive -> drop. An interrupted run is repeated.

A month is dropped only when its archive holds the same as the database, which has not changed since. Rows are folded first.
"""

from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from sql.archive.atomic_files import exclusive, in_thread, remove_partial_files
from sql.archive.export import export_source
from sql.archive.manifest import (
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
from sql.partitions import HISTORIES, LOCK_TIMEOUT, Month, expired, list_months
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
        OSError: the directory is not writable, or another process writes there; the month is kept.
        asyncpg.LockNotAvailableError: a table is in use; the next round tries again.
    """
    dropped = []
    for month in await expired_months(connection, now, retention_days):
        # Readings may arrive until the tables are locked.
        with exclusive(root) if root else nullcontext():
            while not await _drop_unless_changed(connection, month, root):
                log.info("month_changed", month=month.label, reason="late readings have arrived while it was archived")
        dropped.append(month.label)
    return dropped


async def expired_months(connection: Any, now: datetime, retention_days: int) -> list[Month]:
    """The months that are due, oldest first; those with days that are not folded wait for that."""
    folded_before = (await queries.folding_state(connection))["folded_before"]
    months = expired(await list_months(connection), now, retention_days)
    return [month for month in months if folded_before and month.closes <= folded_before]


async def _drop_unless_changed(connection: Any, month: Month, root: Path | None) -> bool:
    """Archive and drop a month; False: it is kept, because late readings have arrived meanwhile."""
    late = await _late_readings(connection, month)
    contents = {
        history: await source_contents(connection, Source.of_days(history, month.opens, month.closes))
        for history in HISTORIES
    }
    archive = await _archive_month(connection, month, root, contents) if root and _has_readings(contents) else None
    if await _late_readings(connection, month) != late:
        return False
    if archive:
        _require_equal(archive, contents)
    return await _drop(connection, month, archive, contents, late)


def _has_readings(contents: dict[str, Contents]) -> bool:
    return any(found.readings for found in contents.values())


async def _late_readings(connection: Any, month: Month) -> str:
    """Number and hash of the late readings of a month; they change whenever its readings do."""
    row = await queries.late_readings_of(connection, opens=month.opens, closes=month.closes)
    return str(row["fingerprint"])


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


async def _archive_month(connection: Any, month: Month, root: Path, contents: dict[str, Contents]) -> _OpenArchive:
    """Export each history of a month that has readings and no file of these contents."""
    archive = await _open_archive(connection, month, root)
    for history, found in contents.items():
        stored = archive.file_of(history)
        if stored and not await in_thread(lambda s=stored: _is_intact(archive, s)):  # type: ignore[misc]
            stored = None
        if not found.readings or (stored and stored.contents == found):
            continue
        if stored and found.readings < stored.contents.readings:
            raise ArchiveError(
                f"{history} has {found.readings} readings of {month.label}, {archive.directory / stored.file} "
                f"{stored.contents.readings}: find out what has removed some; move the directory elsewhere to archive the rest"
            )
        archive.put(
            await export_source(connection, Source.of_days(history, month.opens, month.closes), archive.directory)
        )
    return archive


def _require_equal(archive: _OpenArchive, contents: dict[str, Contents]) -> None:
    for history, found in contents.items():
        stored = archive.file_of(history)
        if found.readings and (stored is None or stored.contents != found):
            raise ArchiveError(f"{history} holds {found}, its archive {stored and stored.contents}: the month is kept")


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
    """Whether a file of an earlier attempt matches its manifest."""
    try:
        verify_file(archive.directory / stored.file, stored)
    except ArchiveError as error:
        log.warning("archive_file_invalid", reason=str(error))
        return False
    return True


async def _drop(
    connection: Any, month: Month, archive: _OpenArchive | None, contents: dict[str, Contents], late: str
) -> bool:
    """Drop the tables and the late readings of a month; False: late readings have arrived, and nothing was dropped."""
    archived_in = archive.directory.name if archive else None
    async with connection.transaction():
        # Readers and writers of all months queue behind these locks.
        await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        await queries.lock_merging(connection)
        if await _late_readings(connection, month) != late:
            return False
        for table in month.partitions:
            await connection.execute(f'DROP TABLE "{table.name}"')
        await queries.delete_late_readings(connection, opens=month.opens, closes=month.closes)
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
    readings = {history: found.readings for history, found in contents.items()}
    log.info("month_dropped", month=month.label, archived_in=archived_in, readings=readings)
    return True
