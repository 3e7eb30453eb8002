"""Months that have had their time: archive -> detach -> compare -> drop. What was killed on the way is begun again.

Nothing is dropped that the archive does not hold: what it holds is compared with the table once nobody can write to it any more.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from sql.archive.export import contents, export, in_thread
from sql.archive.manifest import (
    ENERGY,
    ArchivedFile,
    ArchiveError,
    Contents,
    Manifest,
    discard,
    place,
    read_manifest,
    verify_file,
    write_manifest,
)
from sql.archive.manifest import MANIFEST as MANIFEST_NAME
from sql.months import Month, Part, months, over
from sql.queries import queries

log = structlog.get_logger(__name__)


async def retire_months(connection: Any, now: datetime, retention_days: int, root: Path | None) -> list[str]:
    """Drop every month of which all readings are older than the retention, after archiving it when there is a directory.

    Args:
        connection: of the schema's owner, in no transaction, with a lock_timeout: each step waits no longer for others.
        now: the server's clock.
        retention_days: how long readings are kept.
        root: where archives go; None drops without.

    Returns:
        The months that were dropped, like 2025-09.

    Raises:
        ArchiveError: an archive is not what was in the table; the month is kept.
        OSError: the directory cannot be written to; the month is kept.
        asyncpg.LockNotAvailableError: somebody uses a month; it is tried again in the next round.
    """
    found = await months(connection)
    due = over(found, now, retention_days)
    for month in found:
        if month not in due:
            await _take_back(connection, month)
    for month in due:
        archive = await _archive(connection, month, root) if root else None
        await _detach(connection, month)
        held = await _compare(connection, month, archive)
        await _drop(connection, month, archive, held)
    return [month.label for month in due]


@dataclass(slots=True)
class _Archive:
    """A month's directory, and what is in it by now."""

    directory: Path
    manifest: Manifest

    def file_of(self, history: str) -> ArchivedFile | None:
        return next((each for each in self.manifest.files if each.history == history), None)

    def keep(self, file: ArchivedFile) -> None:
        """Note a file in the manifest, in place of an older one of its history."""
        others = [each for each in self.manifest.files if each.history != file.history]
        self.manifest = Manifest(
            month=self.manifest.month,
            written_at=datetime.now(UTC),
            database=self.manifest.database,
            server=self.manifest.server,
            files=sorted([*others, file], key=lambda each: each.history),
        )
        write_manifest(self.directory, self.manifest)


async def _archive(connection: Any, month: Month, root: Path) -> _Archive | None:
    """Every history of a month in its file; None when it has no reading at all."""
    archive: _Archive | None = None
    for part in _histories(month):
        if await connection.fetchrow(f'TABLE "{part.name}" LIMIT 1') is None:
            continue
        archive = archive or await _open(connection, month, root)
        stored = archive.file_of(part.parent)
        if stored is None or not await in_thread(lambda a=archive, s=stored: _is_good(a, s)):  # type: ignore[misc]
            archive.keep(await export(connection, part.name, part.parent, archive.directory))
    return archive


async def _open(connection: Any, month: Month, root: Path) -> _Archive:
    taken = {row["archived_in"] async for row in queries.archives_of(connection, month=month.first)}
    identity = await queries.database_identity(connection)
    directory = place(root, month.label, taken)
    directory.mkdir(parents=True, exist_ok=True)
    discard(directory)
    if not (directory / MANIFEST_NAME).exists():
        manifest = Manifest(
            month=month.first,
            written_at=datetime.now(UTC),
            database=identity["identity"],
            server=identity["server"],
            files=[],
        )
        return _Archive(directory, manifest)
    manifest = read_manifest(directory).manifest
    if manifest.database != identity["identity"]:
        raise ArchiveError(
            f"{directory} holds the archive of another database ({manifest.database}, this is {identity['identity']}): "
            "give each its own ARCHIVE_DIRECTORY"
        )
    return _Archive(directory, manifest)


def _is_good(archive: _Archive, stored: ArchivedFile) -> bool:
    """Whether a file that an earlier attempt has left is whole; whether it is up to date is compared later."""
    try:
        verify_file(archive.directory / stored.file, stored)
    except ArchiveError as error:
        log.warning("archive_written_again", reason=str(error))
        return False
    return True


async def _detach(connection: Any, month: Month) -> None:
    """From now on nobody can write to the month. Readers and writers of other months are not held up."""
    for part in month.parts:
        if part.pending:
            await connection.execute(f'ALTER TABLE "{part.parent}" DETACH PARTITION "{part.name}" FINALIZE')
        elif part.attached:
            await connection.execute(f'ALTER TABLE "{part.parent}" DETACH PARTITION "{part.name}" CONCURRENTLY')


async def _compare(connection: Any, month: Month, archive: _Archive | None) -> dict[str, Contents]:
    """What each history of a detached month holds; with an archive, once that holds the same."""
    held: dict[str, Contents] = {}
    for part in _histories(month):
        columns = [str(row["name"]) async for row in queries.columns_of(connection, history=part.parent)]
        found = held[part.parent] = await contents(connection, part.name, part.parent, columns)
        if archive is None:
            continue
        stored = archive.file_of(part.parent)
        if not found.readings or (stored and stored.contents == found):
            continue
        if stored and found.readings < stored.contents.readings:
            raise ArchiveError(
                f"{part.name} holds {found.readings} readings, {archive.directory / stored.file} {stored.contents.readings}: "
                "find out who has removed some; move the directory elsewhere to archive what is left"
            )
        log.info("archive_out_of_date", table=part.name, readings=found.readings, reason="readings came meanwhile")
        file = await export(connection, part.name, part.parent, archive.directory)
        if file.contents != found:
            raise ArchiveError(f"{part.name} holds {found}, its archive {file.contents}: the month is kept")
        archive.keep(file)
    return held


async def _drop(connection: Any, month: Month, archive: _Archive | None, held: dict[str, Contents]) -> None:
    archived_in = archive.directory.name if archive else None
    async with connection.transaction():
        for part in month.parts:
            await connection.execute(f'DROP TABLE "{part.name}"')
        for history, found in held.items():
            if found.readings:
                await queries.keep_retired(
                    connection,
                    history=history,
                    month=month.first,
                    readings=found.readings,
                    derived=found.derived,
                    archived_in=archived_in,
                )
        await queries.forget_marks(connection, opens=month.opens, closes=month.closes)
        await queries.forget_packing(connection, parts=[part.name for part in month.parts])
    readings = {history: found.readings for history, found in held.items()}
    log.info("month_dropped", month=month.label, archived_in=archived_in, readings=readings)


async def _take_back(connection: Any, month: Month) -> None:
    """Attach again what was detached under a shorter retention than today's."""
    for part in month.parts:
        if part.attached and not part.pending:
            continue
        if part.pending:
            await connection.execute(f'ALTER TABLE "{part.parent}" DETACH PARTITION "{part.name}" FINALIZE')
        await connection.execute(
            f'ALTER TABLE "{part.parent}" ATTACH PARTITION "{part.name}" '
            f"FOR VALUES FROM ('{month.opens.isoformat()}') TO ('{month.closes.isoformat()}')"
        )
        log.info("month_taken_back", table=part.name, reason="it is within RETENTION_DAYS again")


def _histories(month: Month) -> list[Part]:
    return [part for part in month.parts if part.parent in ENERGY]
