"""Meter readings as Confluent's own serializers write them, with a registry over HTTP."""

from collections.abc import Callable
from typing import Any, Final

import msgspec
from confluent_kafka.schema_registry import SchemaRegistryClient, header_schema_id_serializer
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from schemas.records.readings import MeterReading
from tests.support.clients.session import Headers
from tests.support.formats.encoding import message_class, own_schema, to_message
from tests.support.formats.registry import RegistryServer

decode: Final = msgspec.json.Decoder(MeterReading).decode


def serializers(
    registry: RegistryServer, *, id_in_header: bool = False
) -> dict[str, Callable[[bytes, Headers], bytes]]:
    """JSON to a value of each format; an id that is sent in a header is added to the headers."""
    client = SchemaRegistryClient({"url": registry.url})

    def settings(value_format: str) -> dict[str, Any]:
        header = {"schema.id.serializer": header_schema_id_serializer} if id_in_header else {}
        return {"subject.name.strategy": lambda *_: value_format} | header

    avro = AvroSerializer(client, own_schema("avro", MeterReading).text, conf=settings("avro"))
    text = JSONSerializer(own_schema("json-schema", MeterReading).text, client, conf=settings("json-schema"))
    message = message_class(MeterReading)
    protobuf = ProtobufSerializer(message, client, settings("protobuf"))
    names = {each.name: each.encode_name for each in msgspec.structs.fields(MeterReading)}

    def context(headers: Headers) -> SerializationContext:
        return SerializationContext("topic", MessageField.VALUE, headers)

    def fields(value: bytes) -> dict[str, Any]:
        return {names[name]: each for name, each in msgspec.structs.asdict(decode(value)).items()}

    return {
        "json": lambda value, _: value,
        "avro": lambda value, headers: avro(fields(value), context(headers)),
        "protobuf": lambda value, headers: protobuf(
            to_message(message, msgspec.structs.asdict(decode(value))), context(headers)
        ),
        "json-schema": lambda value, headers: text(msgspec.json.decode(value), context(headers)),
    }
