"""One table of a month -> a Parquet file: written aside, forced to the disk, read back, and only then given its name."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import structlog

from sql.archive.manifest import ENERGY, ArchivedFile, ArchiveError, Contents, digest, force, put_aside, read_contents
from sql.queries import queries

log = structlog.get_logger(__name__)

SECONDS: Final = 24 * 3600.0  # for the rows of one month to come out
T = TypeVar("T")


async def export(connection: Any, part: str, history: str, directory: Path) -> ArchivedFile:
    """Write all rows of a table to a file in `directory`; what is returned was read back from it.

    Args:
        connection: of the schema's owner; its time zone is UTC and its dates are ISO.
        part: the table.
        history: the one it is, or was, a part of: it names the file.
        directory: exists.

    Raises:
        ArchiveError: the file does not say what the rows said.
        OSError: the disk is full, or may not be written to.
    """
    from sql.archive.parquet import TYPES, Writer  # noqa: PLC0415 - pyarrow takes long to load, and only archives need it

    columns = [(str(row["name"]), str(row["kind"])) async for row in queries.columns_of(connection, history=history)]
    unknown = [f"{name} {kind}" for name, kind in columns if kind not in TYPES]
    if unknown:
        raise ArchiveError(f"{history} has columns of types that the archive does not know: {', '.join(unknown)}")
    path = directory / f"{history}.parquet"
    with put_aside(path) as aside:
        with Writer(aside, history, columns) as writer:

            async def take(piece: bytes) -> None:
                if writer.take(piece):
                    await in_thread(writer.flush)

            await connection.copy_from_query(
                _rows(part, [name for name, _ in columns]), output=take, format="csv", timeout=SECONDS
            )
            await in_thread(lambda: writer.flush(last=True))
        written = writer.tally.contents()
        archived = await in_thread(
            lambda: _read_back(aside, path.name, history, [name for name, _ in columns], written)
        )
    log.info("month_archived", table=part, readings=archived.contents.readings, bytes=archived.bytes)
    return archived


def _rows(part: str, columns: list[str]) -> str:
    # COPY takes no parameters; the names come from the catalogue.
    listed = ", ".join(f'"{column}"' for column in columns)
    return f'SELECT {listed}, hash_record_extended(ROW({listed}), 0) FROM "{part}"'  # noqa: S608


def _read_back(aside: Path, name: str, history: str, columns: list[str], written: Contents) -> ArchivedFile:
    force(aside)
    found = read_contents(aside, history)
    if not found.agrees(written):
        raise ArchiveError(f"{aside} was read back as {found}, but {written} was written. See to the disk")
    return ArchivedFile(
        history=history,
        file=name,
        bytes=aside.stat().st_size,
        sha256=digest(aside),
        columns=columns,
        contents=written,
    )


async def contents(connection: Any, part: str, history: str, columns: list[str]) -> Contents:
    """What a table holds now, by the database itself."""
    row = await queries.contents_of(connection, part=part, energy=ENERGY[history], columns=columns)
    return Contents(
        readings=row["readings"],
        derived=row["derived"],
        energy_mwh=int(row["energy_mwh"]),
        first=row["first"],
        last=row["last"],
        fingerprint=int(row["fingerprint"]) % 2**64,
    )


async def in_thread(work: Callable[[], T]) -> T:
    """Do blocking work beside the loop; who is cancelled meanwhile waits for its end, for nobody else may touch the file."""
    working = asyncio.create_task(asyncio.to_thread(work))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait({working})
        raise
