"""Asking `python -m sql doctor`, and the form that its answers have."""

import json
from typing import Any

import jsonschema

from tests.support.old_months import Command

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["level", "asked_at", "database", "standby", "server_version", "findings"],
    "properties": {
        "level": {"enum": ["ok", "warn", "fail"]},
        "asked_at": {"type": "string", "format": "date-time"},
        "database": {"type": "string"},
        "standby": {"type": "boolean"},
        "server_version": {"type": "string"},
        "findings": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["check", "level", "what", "do"],
                "properties": {
                    "check": {"type": "string"},
                    "level": {"enum": ["ok", "warn", "fail"]},
                    "what": {"type": "string", "minLength": 1},
                    "do": {"type": "string"},
                },
            },
        },
    },
}


async def ask(sql: Command, *options: str) -> tuple[int, dict[str, Any], dict[str, dict[str, str]]]:
    """Exit code, the whole answer, the findings by check."""
    code, printed, said = await sql.tries("doctor", "--json", *options)
    assert printed, said
    answer = json.loads(printed)
    jsonschema.validate(answer, SCHEMA)
    return code, answer, {each["check"]: each for each in answer["findings"]}
