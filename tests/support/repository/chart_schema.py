"""deploy/k8s/values.schema.json: written by hand but for its settings, which come from the settings classes."""

import json
from collections.abc import Iterable
from typing import Any, Final

from pydantic_settings import BaseSettings

from tests.support.repository import ROOT

FILE: Final = "deploy/k8s/values.schema.json"
# Settings that the templates set, and those that would contradict them.
SET_BY_TEMPLATES: Final = frozenset(
    {
        "API_HOST",
        "API_KEYS_FILE",
        "API_PORT",
        "ARCHIVE_DIRECTORY",
        "KAFKA_GROUP_INSTANCE_ID",
        "KAFKA_OAUTH_CLIENT_ID",
        "KAFKA_OAUTH_SSL_CAFILE",
        "KAFKA_OAUTH_TOKEN_FILE",
        "KAFKA_SASL_USERNAME",
        "KAFKA_SSL_CAFILE",
        "KAFKA_SSL_CERTFILE",
        "KAFKA_SSL_KEYFILE",
        "MAINTAIN_METRICS_HOST",
        "MAINTAIN_METRICS_PORT",
        "METRICS_HOST",
        "METRICS_PORT",
        "SCHEMA_REGISTRY_SSL_CAFILE",
        "SCHEMA_REGISTRY_SSL_CERTFILE",
        "SCHEMA_REGISTRY_SSL_KEYFILE",
        "SCHEMA_REGISTRY_USERNAME",
    }
)
KEPT: Final = (
    "type",
    "enum",
    "minimum",
    "exclusiveMinimum",
    "maximum",
    "exclusiveMaximum",
    "description",
    "default",
)


def values_schema(settings_classes: Iterable[type[BaseSettings]]) -> str:
    """The text of the file, with the settings that values may have: no secrets, and nothing that the templates set."""
    schema = json.loads((ROOT / FILE).read_text())
    properties: dict[str, Any] = {}
    for settings_class in settings_classes:
        for name, each in settings_class.model_json_schema()["properties"].items():
            allowed = without_null(each)
            if allowed.get("format") != "password" and name.upper() not in SET_BY_TEMPLATES:
                properties[name.upper()] = {key: allowed[key] for key in KEPT if allowed.get(key) is not None}
    schema["properties"]["settings"]["properties"] = dict(sorted(properties.items()))
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without the alternative `null`, which stands for an unset variable."""
    choices = [each for each in schema.get("anyOf", []) if each.get("type") != "null"]
    return {**schema, **choices[0]} if len(choices) == 1 else schema
