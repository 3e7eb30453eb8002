"""`python -m sql doctor --json`, and the JSON Schema of its report."""

import json
from typing import Any

import jsonschema

from tests.support.command import Command

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


async def run_doctor(sql: Command, *options: str) -> tuple[int, dict[str, Any], dict[str, dict[str, str]]]:
    """Exit code, the whole report, and its findings by the name of the check."""
    code, stdout, stderr = await sql.run("doctor", "--json", *options)
    assert stdout, stderr
    report = json.loads(stdout)
    jsonschema.validate(report, SCHEMA)
    return code, report, {finding["check"]: finding for finding in report["findings"]}
