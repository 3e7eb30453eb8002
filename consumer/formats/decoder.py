"""The decoder of a topic whose values name their schemas."""

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from operator import attrgetter, itemgetter
from typing import Any, Final

import structlog

from consumer.formats.avro import AvroReader
from consumer.formats.errors import IncompatibleSchemaError, RegistryUnavailableError, SchemaNotFoundError
from consumer.formats.fields import Reader, invalid
from consumer.formats.framing import ID_MAGIC, LENGTHS, FrameError, schema_key, schema_name
from consumer.formats.json_schema import JsonSchemaReader
from consumer.formats.protobuf import ProtobufReader
from consumer.formats.registry import RegisteredSchema, SchemaRegistry
from consumer.records.batch import Decoded
from consumer.records.decode import Decoder, Unknown, within
from consumer.records.record import Record
from consumer.records.record_type import RecordType, Row
from consumer.settings import Format
from schemas.records.readings import Limits, Reason, TimeLimits

log = structlog.get_logger(__name__)

NOT_FOUND_SECONDS: Final = 30.0  # until a registry is asked again for a schema that it did not have
TYPES: Final = {"AVRO": "avro", "PROTOBUF": "protobuf", "JSON": "json-schema"}
AUTO: Final = "auto"
MAGIC_BYTES: Final = frozenset(bytes([magic]) for magic in LENGTHS)
_value: Final = attrgetter("value")
_schema_header: Final = attrgetter("schema_header")
_frame: Final = itemgetter(slice(0, LENGTHS[ID_MAGIC]))


@dataclass(frozen=True, slots=True)
class _Unusable:
    """A schema whose records are dead letters; until an instant (monotonic seconds), or for ever."""

    reason: Reason
    detail: str
    until: float | None = None


_Checked = tuple[list[Record], bytes, list[bytes]]  # records of one schema that is known, its key, and their values


class FramedDecoder(Decoder):
    """Decodes the records of one topic. Schemas are kept for as long as the process runs: an id never gets another one."""

    def __init__(self, record_type: RecordType, max_bytes: int, value_format: Format, registry: SchemaRegistry) -> None:
        super().__init__(record_type, max_bytes)
        self._format = value_format
        self._registry = registry
        self._readers: dict[bytes, Reader | _Unusable] = {}
        self._checked: _Checked | None = None
        self._loading = asyncio.Lock()  # partitions may wait for the same schema
        self._frames: set[bytes] = set()  # what values begin with whose schema was found

    def first_unknown(self, records: list[Record]) -> Unknown | None:
        """The first record whose schema has to be fetched, with what fetches it; that raises RegistryUnavailableError."""
        self._forget_not_found()
        self._checked = None
        if not any(map(_schema_header, records)):
            values = list(filter(None, map(_value, records)))
            frames = set(map(_frame, values))
            if not any(map(_begins_with_magic, frames - self._frames)):
                if len(frames) == 1 and frames <= self._frames and len(values) == len(records):
                    self._checked = records, frames.pop(), values
                return None
        for position, record in enumerate(records):
            try:
                key = schema_key(record.framed_value() or b"")
            except FrameError:
                continue
            if key and key not in self._readers:
                return Unknown(position, partial(self.load, key))
        return None

    def decode(self, records: list[Record], limits: TimeLimits) -> Decoded:
        """Decode each record to a row or a dead letter; `first_unknown` has just found nothing unknown among the records."""
        if self._checked and self._checked[0] is records:
            _, key, values = self._checked
            self._checked = None
            try:
                rows = self._valid_rows(key, values, self.record_type.limits or limits)
            except Exception:  # noqa: BLE001 - decoding smaller portions finds the record that causes it
                rows = None
            if rows is not None:
                return Decoded(rows, records, [])
        return super().decode(records, limits)

    def _valid_rows(self, key: bytes, values: list[bytes], limits: Limits) -> list[Row] | None:
        """The rows of values of one schema; None, or any error, unless every one of them is certainly valid."""
        if max(map(len, values)) > self._max_bytes:
            return None
        rows = self._rows_of(key, values)
        return rows if rows is not None and within(rows, limits) else None

    async def load(self, key: bytes) -> None:
        """Fetch the schema of a key.

        Raises:
            RegistryUnavailableError: it cannot be told whether the schema exists.
        """
        async with self._loading:
            if key not in self._readers:
                await self._load(key)

    async def _load(self, key: bytes) -> None:
        try:
            schema = await self._registry.schema(key)
        except SchemaNotFoundError as error:
            detail = f"the schema registry has no schema {schema_name(key)}: {error}"
            self._readers[key] = _Unusable(Reason.UNKNOWN_SCHEMA, detail, time.monotonic() + NOT_FOUND_SECONDS)
            log.error("schema_not_found", schema=schema_name(key), detail=detail)
            return
        self._readers[key] = await asyncio.to_thread(self._reader, key, schema)
        if key[0] == ID_MAGIC:
            self._frames.add(key)

    async def prepare(self, topic: str) -> None:
        """Fetch the newest schema of the topic's subject, and log what is wrong with it before its first record arrives.

        Subjects may have other names, so a missing one is no error.
        """
        try:
            newest = await self._registry.newest_id(f"{topic}-value")
            if newest is not None:
                await self.load(bytes([ID_MAGIC]) + newest.to_bytes(4, "big"))
        except SchemaNotFoundError:
            log.info("subject_not_found", subject=f"{topic}-value")
        except RegistryUnavailableError as error:
            log.warning("schema_registry_unavailable", topic=topic, error=str(error))

    def _reader(self, key: bytes, schema: RegisteredSchema) -> Reader | _Unusable:
        name, found = schema_name(key), TYPES.get(schema.type, schema.type)
        try:
            if self._format not in {AUTO, found}:
                raise IncompatibleSchemaError(f"it is {found}, and the format of the topic is {self._format}")
            match found:
                case "avro":
                    return AvroReader(schema, self.record_type)
                case "protobuf":
                    return ProtobufReader(schema, self.record_type)
                case "json-schema":
                    return JsonSchemaReader(schema, self.record_type, self._decode_lines)
                case _:
                    raise IncompatibleSchemaError(f"{found} is not a type of schemas that can be read")
        except Exception as error:  # a schema may be anything, and concerns its records alone
            if not isinstance(error, IncompatibleSchemaError):
                log.exception("schema_failed", schema=name)
            detail = f"schema {name} cannot be read as {self.record_type.name}: {str(error) or type(error).__name__}"
            log.error("schema_incompatible", schema=name, record_type=self.record_type.name, detail=detail)
            return _Unusable(Reason.INCOMPATIBLE_SCHEMA, detail)

    def _forget_not_found(self) -> None:
        now = time.monotonic()
        for key, each in list(self._readers.items()):
            if isinstance(each, _Unusable) and each.until is not None and each.until <= now:
                del self._readers[key]

    def _decode_chunk(self, records: list[Record], limits: Limits) -> list[Row] | None:
        if any(map(_schema_header, records)):
            values: list[Any] = [record.framed_value() for record in records]
        else:
            values = list(map(_value, records))
        if sum(map(len, values)) > self._max_bytes:
            return None
        rows = self._rows(values)
        return rows if rows is not None and within(rows, limits) else None

    def _rows(self, values: list[bytes]) -> list[Row] | None:
        frames = set(map(_frame, values))
        if len(frames) == 1 and frames <= self._frames:
            return self._rows_of(frames.pop(), values)
        if not any(map(_begins_with_magic, frames)):
            return self._rows_of(b"", values)
        positions: dict[bytes, list[int]] = {}
        for position, value in enumerate(values):
            positions.setdefault(schema_key(value), []).append(position)
        rows: list[Row] = [()] * len(values)
        for key, places in positions.items():
            found = self._rows_of(key, [values[each] for each in places])
            if found is None:
                return None
            for place, row in zip(places, found, strict=True):
                rows[place] = row
        return rows

    def _rows_of(self, key: bytes, values: list[bytes]) -> list[Row] | None:
        if not key:
            return self._decode_lines(values) if self._format == AUTO else None
        reader = self._readers[key]
        return None if isinstance(reader, _Unusable) else reader.rows(values, len(key))

    def _as_json(self, record: Record) -> bytes | None:
        value = record.framed_value()
        if not value:
            return value
        try:
            key = schema_key(value)
        except FrameError as error:
            raise invalid(Reason.INVALID_FRAME, str(error)) from None
        if key:
            reader = self._readers[key]
            if isinstance(reader, _Unusable):
                raise invalid(reader.reason, reader.detail)
            return reader.as_json(value[len(key) :])
        if self._format == AUTO:
            return value
        detail = f"the value begins with no magic byte and schema id, and the format of the topic is {self._format}"
        raise invalid(Reason.INVALID_FRAME, detail)


def _begins_with_magic(frame: bytes) -> bool:
    return frame[:1] in MAGIC_BYTES
