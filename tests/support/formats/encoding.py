"""Readings in every format, and the schemas that a registry would have for them."""

import asyncio
import io
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import fastavro
import msgspec
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

from consumer.formats.decoder import FramedDecoder
from consumer.formats.errors import RegistryUnavailableError, SchemaNotFoundError
from consumer.formats.registry import RegisteredSchema
from consumer.records.record_type import RecordType
from consumer.settings import Format
from schemas.records.assignments import Assignment
from schemas.records.readings import MeterReading, RegisterReading, VehicleReading
from tests.support.repository import ROOT

FORMATS: Final = ("avro", "protobuf", "json-schema")
TYPES: Final = {"avro": "AVRO", "protobuf": "PROTOBUF", "json-schema": "JSON"}
SUFFIXES: Final = {"avro": "avsc", "protobuf": "proto", "json-schema": "schema.json"}
NAMES: Final[dict[type[msgspec.Struct], str]] = {
    MeterReading: "meter-reading",
    RegisterReading: "register-reading",
    VehicleReading: "vehicle-reading",
    Assignment: "assignment",
}
Encode = Callable[[bytes], bytes]


def own_schema(value_format: str, struct: type[msgspec.Struct]) -> RegisteredSchema:
    """The schema of a record that this repository publishes."""
    text = (ROOT / "docs" / "schemas" / f"{NAMES[struct]}.{SUFFIXES[value_format]}").read_text()
    return RegisteredSchema(TYPES[value_format], text)


def key_of(schema_id: int) -> bytes:
    """What a value begins with that was written with a schema."""
    return b"\0" + schema_id.to_bytes(4, "big")


def field_encoder(value_format: str, struct: type[msgspec.Struct]) -> Callable[[dict[str, Any]], bytes]:
    """The fields of a struct, under its own names, to a payload of our own schema; nothing is validated.

    Written by other code than the consumer reads with.
    """
    names = {each.name: each.encode_name for each in msgspec.structs.fields(struct)}
    if value_format == "json-schema":
        return lambda fields: msgspec.json.encode({names[name]: each for name, each in fields.items()})
    if value_format == "protobuf":
        message = message_class(struct)
        return lambda fields: b"\0" + to_message(message, fields).SerializeToString()
    schema = fastavro.parse_schema(json.loads(own_schema("avro", struct).text))

    def encode(fields: dict[str, Any]) -> bytes:
        target = io.BytesIO()
        fastavro.schemaless_writer(target, schema, {names[name]: each for name, each in fields.items()})
        return target.getvalue()

    return encode


def encoder(value_format: str, struct: type[msgspec.Struct]) -> Encode:
    """JSON to a payload of our own schema, without its frame."""
    decode, encode = msgspec.json.Decoder(struct).decode, field_encoder(value_format, struct)
    return lambda value: encode(msgspec.structs.asdict(decode(value)))


def framed(value_format: str, struct: type[msgspec.Struct], schema_id: int = 1) -> Encode:
    """JSON to a value with the frame of a schema id."""
    encode, key = encoder(value_format, struct), key_of(schema_id)
    return lambda value: key + encode(value)


def message_class(struct: type[msgspec.Struct]) -> Any:
    """The class that protoc would generate for one of our messages."""
    types = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name=f"{struct.__name__}.proto", package="test", syntax="proto3")
    file.dependency.append("google/protobuf/timestamp.proto")
    message = file.message_type.add(name=struct.__name__)
    for number, field in enumerate(msgspec.structs.fields(struct), 1):
        instant = field.encode_name in {"timestamp", "validFrom", "validTo"}
        code = types.TYPE_STRING if field.name.endswith("_id") else types.TYPE_DOUBLE
        declared = message.field.add(
            name=field.name, number=number, type=types.TYPE_MESSAGE if instant else code, label=types.LABEL_OPTIONAL
        )
        if instant:
            declared.type_name = ".google.protobuf.Timestamp"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"test.{struct.__name__}"))


def to_message(message: Any, fields: dict[str, Any]) -> Any:
    found = message()
    for name, value in fields.items():
        if isinstance(value, datetime):
            getattr(found, name).FromDatetime(value)
        elif value is not None:
            setattr(found, name, value)
    return found


class RegistryInMemory:
    """A registry in the same process: schemas by key, and `away` while it answers nothing."""

    def __init__(self, schemas: dict[bytes, RegisteredSchema] | None = None) -> None:
        self.schemas = schemas or {}
        self.away = False
        self.questions: list[bytes] = []

    async def schema(self, key: bytes) -> RegisteredSchema:
        self.questions.append(key)
        if self.away:
            raise RegistryUnavailableError("the registry is away")
        if key not in self.schemas:
            raise SchemaNotFoundError("not found")
        return self.schemas[key]


def framed_decoder(
    value_format: Format, record_type: RecordType, schemas: dict[int, RegisteredSchema]
) -> FramedDecoder:
    """A decoder of one topic that has fetched the schemas of a registry, by their ids."""
    registry: Any = RegistryInMemory({key_of(number): schema for number, schema in schemas.items()})
    decoder = FramedDecoder(record_type, 1 << 20, value_format, registry)

    async def load() -> None:
        for number in schemas:
            await decoder.load(key_of(number))

    asyncio.run(load())
    return decoder
