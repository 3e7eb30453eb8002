"""The AsyncAPI 3.0 document of the topics, generated from the structs in schemas/records that decode their records."""

import re
from typing import Any, Final

import msgspec

from schemas.config.version import VERSION
from schemas.records.alerts import Alert
from schemas.records.assignments import Assignment
from schemas.records.readings import MeterReading, RegisterReading, VehicleReading

AT: Final = "2026-02-09T15:30:00Z"
METER: Final = {"meterId": "METER-001", "kwhConsumedAc": 45.23, "voltage": 240.5, "timestamp": AT}
VEHICLE: Final = {"vehicleId": "VEH-001", "soc": 85, "kwhDeliveredDc": 32.15, "batteryTemp": 28.3, "timestamp": AT}
REGISTER: Final = METER | {"kwhConsumedAc": 120345.6}
ASSIGNMENT: Final = {"vehicleId": "VEH-001", "meterId": "METER-001", "validFrom": AT, "validTo": None}
ALERT: Final[dict[str, Any]] = {
    "eventId": "5b2f0c1e-7d0a-4c53-9a3e-8f1f6f0e9d11",
    "event": "fault_opened",
    "faultId": 1770651000123456,
    "vehicleId": "VEH-001",
    "meterIds": ["METER-001"],
    "at": AT,
    "efficiencyRatio": 71.08,
    "energyConsumedAc": 45.23,
    "energyDeliveredDc": 32.15,
    "windowStart": "2026-02-08T15:30:00Z",
    "windowEnd": AT,
    "thresholdPercent": 85.0,
}
# channel: (default topic, setting that names another, action of the engine, struct, key, example)
TOPICS: Final[dict[str, tuple[str, str, str, type[msgspec.Struct], str, dict[str, Any]]]] = {
    "meterReadings": ("meter-readings", "KAFKA_METER_TOPIC", "receive", MeterReading, "meterId", METER),
    "vehicleReadings": ("vehicle-readings", "KAFKA_VEHICLE_TOPIC", "receive", VehicleReading, "vehicleId", VEHICLE),
    "registerReadings": ("register-readings", "KAFKA_REGISTER_TOPIC", "receive", RegisterReading, "meterId", REGISTER),
    "assignments": (
        "vehicle-meter-assignments", "KAFKA_ASSIGNMENT_TOPIC", "receive", Assignment, "vehicleId", ASSIGNMENT,
    ),
    "efficiencyAlerts": ("efficiency-alerts", "KAFKA_ALERT_TOPIC", "send", Alert, "vehicleId", ALERT),
}  # fmt: skip


def file_stem(struct: type[msgspec.Struct]) -> str:
    """MeterReading -> meter-reading."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", struct.__name__).lower()


def registry_schemas(struct: type[msgspec.Struct]) -> dict[str, str]:
    """The files beside the document with the schemas of a record for a schema registry, by format."""
    stem = file_stem(struct)
    return {
        "avro": f"schemas/{stem}.avsc",
        "protobuf": f"schemas/{stem}.proto",
        "json-schema": f"schemas/{stem}.schema.json",
    }


def payload(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """The JSON Schema of a record's value. Consumers ignore other fields."""
    _, components = msgspec.json.schema_components([struct])
    schema: dict[str, Any] = components[struct.__name__]
    return schema


def document() -> dict[str, Any]:
    """The document of all topics, from the side of this application: it receives readings and sends alerts."""
    messages, channels, operations = {}, {}, {}
    for name, (topic, setting, action, struct, key, example) in TOPICS.items():
        message = struct.__name__
        messages[message] = {
            "name": message,
            "contentType": "application/json",
            "payload": payload(struct),
            "bindings": {"kafka": {"key": {"type": "string", "description": f"the {key}"}, "bindingVersion": "0.5.0"}},
            "examples": [{"payload": example}],
            **({"x-registry-schemas": registry_schemas(struct)} if action == "receive" else {}),
        }
        channels[name] = {
            "address": topic,
            "description": f"The setting {setting} names another topic.",
            "messages": {message: {"$ref": f"#/components/messages/{message}"}},
        }
        operations[f"{action}{message}"] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{name}"},
            "messages": [{"$ref": f"#/channels/{name}/messages/{message}"}],
        }
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Energy ingestion engine", "version": VERSION, "description": DESCRIPTION},
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages},
    }


DESCRIPTION: Final = (
    "One record is one JSON object in UTF-8, keyed by the device. What does not match its schema becomes a dead letter "
    "with a reason; so does a reading whose timestamp is older than RETENTION_DAYS or more than 5 minutes ahead of the "
    "server's clock, and an assignment that does not end after it begins. The same device and timestamp again is stored "
    "once. With the settings KAFKA_..._FORMAT, a topic carries Avro, Protobuf or JSON with a schema of a registry instead; "
    "x-registry-schemas names such schemas, and any other with fields of the same names can be used."
)
