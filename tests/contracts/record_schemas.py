"""The schemas of records for a schema registry, in Avro, Protobuf and JSON Schema: generated from the structs in schemas/records.

The fields have the names of the JSON contract, in Protobuf those that it maps to them. A field's number in Protobuf is its
place in its struct, where new fields come last.
"""

import json
from typing import Any, Final

import msgspec
from msgspec import inspect

from schemas.records.assignments import Assignment
from schemas.records.readings import MeterReading, RegisterReading, VehicleReading
from tests.contracts.asyncapi import file_stem, payload

NAMESPACE: Final = "energy.v1"
STRUCTS: Final[tuple[type[msgspec.Struct], ...]] = (MeterReading, RegisterReading, VehicleReading, Assignment)
AVRO: Final[dict[type[inspect.Type], Any]] = {
    inspect.StrType: "string",
    inspect.FloatType: "double",
    inspect.DateTimeType: {"type": "long", "logicalType": "timestamp-micros"},
}
PROTOBUF: Final[dict[type[inspect.Type], str]] = {
    inspect.StrType: "string",
    inspect.FloatType: "double",
    inspect.DateTimeType: "google.protobuf.Timestamp",
}


def record_schemas() -> dict[str, str]:
    """The texts of all schemas by file name."""
    texts: dict[str, str] = {}
    for struct in STRUCTS:
        name = file_stem(struct)
        texts |= {
            f"{name}.avsc": avro(struct),
            f"{name}.proto": protobuf(struct),
            f"{name}.schema.json": of_json(struct),
        }
    return texts


def avro(struct: type[msgspec.Struct]) -> str:
    fields = []
    for field in msgspec.structs.fields(struct):
        known, description = _known(field.type)
        written: dict[str, Any] = {"name": field.encode_name, "type": AVRO[known]}
        if not field.required:
            written |= {"type": ["null", AVRO[known]], "default": None}
        fields.append(written | ({"doc": description} if description else {}))
    definition = {
        "type": "record",
        "name": struct.__name__,
        "namespace": NAMESPACE,
        "doc": _summary(struct),
        "fields": fields,
    }
    return json.dumps(definition, indent=1) + "\n"


def protobuf(struct: type[msgspec.Struct]) -> str:
    lines = []
    for number, field in enumerate(msgspec.structs.fields(struct), 1):
        known, description = _known(field.type)
        comment = f"  // {description}" if description else ""
        label = "" if field.required else "optional "
        lines.append(f"  {label}{PROTOBUF[known]} {field.name} = {number};{comment}")
    return "\n".join([
        'syntax = "proto3";',
        "",
        f"package {NAMESPACE};",
        "",
        'import "google/protobuf/timestamp.proto";',
        "",
        f"// {_summary(struct)}",
        f"message {struct.__name__} {{",
        *lines,
        "}",
        "",
    ])  # fmt: skip


def of_json(struct: type[msgspec.Struct]) -> str:
    definition = {"$schema": "https://json-schema.org/draft/2020-12/schema", **payload(struct)}
    return json.dumps(definition, indent=1) + "\n"


def _summary(struct: type[msgspec.Struct]) -> str:
    return (struct.__doc__ or "").split("\n")[0]


def _known(annotation: Any) -> tuple[type[inspect.Type], str]:
    """The plain type behind an annotation, and its description."""
    found: Any = inspect.type_info(annotation)
    description = ""
    if isinstance(found, inspect.UnionType):
        (found,) = [each for each in found.types if not isinstance(each, inspect.NoneType)]
    if isinstance(found, inspect.Metadata):
        description = (found.extra_json_schema or {}).get("description", "").partition("RFC 3339")[0].rstrip(", ")
        found = found.type
    return type(found), description
