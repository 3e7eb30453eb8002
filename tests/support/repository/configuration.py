"""`make configuration`: docs/configuration.md and .env.example, written from the settings classes.

Every process that reads settings stands in READERS; a test fails when a class of settings is missing, or the files lag behind.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr
from pydantic_settings import BaseSettings

from api.settings import ApiSettings
from consumer.settings import ConsumerSettings
from schemas.config.settings import KafkaSettings
from sql.settings import MaintainSettings, SqlSettings

ROOT: Final = Path(__file__).parents[3]
READERS: Final[Mapping[str, type[BaseSettings]]] = {
    "python -m consumer": ConsumerSettings,
    "python -m api": ApiSettings,
    "python -m sql": SqlSettings,
    "python -m sql maintain": MaintainSettings,
    "python -m deploy.simulator": KafkaSettings,
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One environment variable, as the files show it."""

    name: str
    type: str
    default: str
    range: str
    description: str
    secret: bool = False


# What only the local stack and the demo read; these are options of their commands as well.
OF_THE_STACK: Final = (
    Setting("LOCAL_STACK", "text", "", "", "containers takes Kafka and PostgreSQL from images; unset: from packages"),
    Setting("KAFKA_PORT", "integer", "19092", "1 to 65535", "where the local Kafka listens"),
    Setting("POSTGRES_PORT", "integer", "15432", "1 to 65535", "where the local PostgreSQL listens"),
)
STACK: Final = "The local stack (`make demo`, `make test`)"
HEAD: Final = """\
# Configuration
Written by `make configuration` from the settings classes; change those.

Settings are environment variables. A file `.env` in the working directory is read too, and the environment comes first. An empty
value is the same as none. A process whose settings are not valid says which and why, and exits with code 2 before it does
anything else. Secrets are shown in no log, error or metric. Every process reads those it knows and ignores the others.
"""
OF_FILES: Final = """\
In place of each secret, `NAME_FILE` names a file that holds it, as container engines mount secrets: `DATABASE_URL_FILE` for
`DATABASE_URL`. Both at once are refused.
"""
EXAMPLE_HEAD: Final = """\
# All settings with their defaults, written by `make configuration`. Copy to .env, or set them in the environment; every process
# reads those it knows. docs/configuration.md has their types and ranges.
"""


def settings_of(kind: type[BaseSettings]) -> list[Setting]:
    """The settings of a class, in the order in which they are declared.

    Raises:
        ValueError: one has no description.
    """
    properties = kind.model_json_schema()["properties"]
    return [_setting(kind, name, _flat(properties[name])) for name in kind.model_fields]


def _setting(kind: type[BaseSettings], name: str, schema: dict[str, Any]) -> Setting:
    description = kind.model_fields[name].description
    if not description:
        raise ValueError(f"{kind.__name__}.{name} has no description: give its Field one")
    return Setting(
        name.upper(),
        _type(schema),
        _default(kind, name),
        _range(schema),
        description,
        schema.get("format") == "password",
    )


def _flat(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without the choice of null, which an unset variable is."""
    choices = [each for each in schema.get("anyOf", []) if each.get("type") != "null"]
    return {**schema, **choices[0]} if len(choices) == 1 else schema


def _type(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    named = {"password": "secret", "path": "file", "directory-path": "directory", "file-path": "file"}
    words = {
        "string": "text",
        "integer": "integer",
        "number": "number",
        "boolean": "true or false",
        "array": "JSON list",
    }
    return named.get(schema.get("format", ""), words.get(schema.get("type", ""), "text"))


def _default(kind: type[BaseSettings], name: str) -> str:
    value = kind.model_fields[name].get_default(call_default_factory=True)
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _range(schema: dict[str, Any]) -> str:
    low, above, high, below = (
        None if schema.get(each) is None else f"{schema[each]:.10g}"
        for each in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")
    )
    lower = f"more than {above}" if above else f"{low} or more" if low else ""
    upper = f"less than {below}" if below else f"at most {high}" if high else ""
    return f"{low} to {high}" if low and high else ", ".join(filter(None, [lower, upper]))


def by_readers() -> dict[tuple[str, ...], list[Setting]]:
    """Settings by the processes that read them: those that several share first, each setting once."""
    known: dict[str, Setting] = {}
    readers: dict[str, list[str]] = {}
    for reader, kind in READERS.items():
        for setting in settings_of(kind):
            known.setdefault(setting.name, setting)
            readers.setdefault(setting.name, []).append(reader)
    groups: dict[tuple[str, ...], list[Setting]] = {}
    for name, setting in known.items():
        groups.setdefault(tuple(readers[name]), []).append(setting)
    return dict(sorted(groups.items(), key=lambda group: -len(group[0])))


def _sections() -> Iterator[tuple[str, list[Setting]]]:
    for readers, settings in by_readers().items():
        yield (
            " and ".join(filter(None, [", ".join(f"`{each}`" for each in readers[:-1]), f"`{readers[-1]}`"])),
            settings,
        )
    yield STACK, list(OF_THE_STACK)


def document() -> str:
    """docs/configuration.md."""
    parts = [HEAD, OF_FILES]
    for title, settings in _sections():
        rows = map(_row, settings)
        parts.append(
            "\n".join(
                [f"## {title}", "| setting | type | default | range | what it is |", "|---|---|---|---|---|", *rows, ""]
            )
        )
    return "\n".join(parts)


def _row(setting: Setting) -> str:
    default = f"`{setting.default}`" if setting.default else "unset"
    description = setting.description.replace("|", "\\|")
    return f"| `{setting.name}` | {setting.type} | {default} | {setting.range} | {description} |"


def example() -> str:
    """.env.example."""
    parts = [EXAMPLE_HEAD]
    for title, settings in _sections():
        parts.append("\n".join([f"# {title.replace('`', '')}", *map(_line, settings), ""]))
    return "\n".join(parts)


def _line(setting: Setting) -> str:
    file = f"\n# or the file that holds it\n#{setting.name}_FILE=" if setting.secret else ""
    return f"# {setting.description}\n#{setting.name}={setting.default}{file}"


FILES: Final = {"docs/configuration.md": document, ".env.example": example}


def main() -> None:
    """Write both files."""
    for name, made in FILES.items():
        (ROOT / name).write_text(made())


if __name__ == "__main__":
    main()
