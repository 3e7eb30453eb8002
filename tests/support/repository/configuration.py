"""`make configuration`: docs/configuration.md, .env.example and the chart's schema, written from the settings classes.

READERS lists every process that reads settings. A test fails when a settings class is missing there or a file is out of date.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import SecretStr
from pydantic_settings import BaseSettings

from api.settings import ApiSettings
from consumer.settings import ConsumerSettings
from deploy.simulator.producer import SimulatorSettings
from sql.settings import MaintainSettings, MoveSettings, SqlSettings
from tests.support.repository import ROOT, chart_schema
from tests.support.repository.chart_schema import without_null

READERS: Final[Mapping[str, type[BaseSettings]]] = {
    "python -m consumer": ConsumerSettings,
    "python -m api": ApiSettings,
    "python -m sql": SqlSettings,
    "python -m sql maintain": MaintainSettings,
    "python -m sql cells move": MoveSettings,
    "python -m deploy.simulator": SimulatorSettings,
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One environment variable, as both files show it."""

    name: str
    type: str
    default: str
    range: str
    description: str
    secret: bool = False


# Settings that only the local stack and the demo read; options of their commands set them as well.
STACK_SETTINGS: Final = (
    Setting("LOCAL_STACK", "text", "", "", "containers takes Kafka and PostgreSQL from images; unset: from packages"),
    Setting(
        "POSTGRES_BINARIES",
        "text",
        "",
        "",
        "directory of the programs of another PostgreSQL, 15 or newer; unset: a package's",
    ),
    Setting("KAFKA_PORT", "integer", "19092", "1 to 65535", "where the local Kafka listens"),
    Setting("POSTGRES_PORT", "integer", "15432", "1 to 65535", "where the local PostgreSQL listens"),
)
STACK_TITLE: Final = "The local stack (`make demo`, `make test`)"
INTRODUCTION: Final = """\
# Configuration
`make configuration` writes this file from the settings classes. Change the classes, not the file.

Settings are environment variables. A file `.env` in the working directory is read as well; the environment has precedence. An
empty value counts as unset. A process with invalid settings names each of them with the reason, and exits with code 2 before it
does anything else. Secrets appear in no log, error or metric. Every process reads its own settings and ignores all others.
"""
SECRET_FILES: Final = """\
Every secret can come from a file, as container engines mount secrets: `NAME_FILE` names the file, `DATABASE_URL_FILE` for
`DATABASE_URL`. Setting both is an error.
"""
EXAMPLE_INTRODUCTION: Final = """\
# All settings with their defaults, written by `make configuration`. Copy this file to .env, or set them in the environment; every
# process reads its own. docs/configuration.md has their types and ranges.
"""


def settings_of(settings_class: type[BaseSettings]) -> list[Setting]:
    """The settings of a class in the order of their declaration.

    Raises:
        ValueError: a setting has no description.
    """
    properties = settings_class.model_json_schema()["properties"]
    return [_setting(settings_class, name, without_null(properties[name])) for name in settings_class.model_fields]


def _setting(settings_class: type[BaseSettings], name: str, schema: dict[str, Any]) -> Setting:
    description = settings_class.model_fields[name].description
    if not description:
        raise ValueError(f"{settings_class.__name__}.{name} has no description: give its Field one")
    return Setting(
        name.upper(),
        _type(schema),
        _default(settings_class, name),
        _range(schema),
        description,
        schema.get("format") == "password",
    )


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


def _default(settings_class: type[BaseSettings], name: str) -> str:
    defaults = {each: field.default for each, field in settings_class.model_fields.items()}
    value = settings_class.model_fields[name].get_default(call_default_factory=True, validated_data=defaults)
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
    """Every setting once, by the processes that read it: settings of several processes first."""
    settings: dict[str, Setting] = {}
    readers: dict[str, list[str]] = {}
    for reader, settings_class in READERS.items():
        for setting in settings_of(settings_class):
            settings.setdefault(setting.name, setting)
            readers.setdefault(setting.name, []).append(reader)
    groups: dict[tuple[str, ...], list[Setting]] = {}
    for name, setting in settings.items():
        groups.setdefault(tuple(readers[name]), []).append(setting)
    return dict(sorted(groups.items(), key=lambda group: -len(group[0])))


def _sections() -> Iterator[tuple[str, list[Setting]]]:
    for readers, settings in by_readers().items():
        yield (
            " and ".join(filter(None, [", ".join(f"`{each}`" for each in readers[:-1]), f"`{readers[-1]}`"])),
            settings,
        )
    yield STACK_TITLE, list(STACK_SETTINGS)


def document() -> str:
    """The text of docs/configuration.md."""
    parts = [INTRODUCTION, SECRET_FILES]
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
    """The text of .env.example."""
    parts = [EXAMPLE_INTRODUCTION]
    for title, settings in _sections():
        parts.append("\n".join([f"# {title.replace('`', '')}", *map(_line, settings), ""]))
    return "\n".join(parts)


def _line(setting: Setting) -> str:
    file = f"\n# or the file with it\n#{setting.name}_FILE=" if setting.secret else ""
    return f"# {setting.description}\n#{setting.name}={setting.default}{file}"


FILES: Final[Mapping[str, Callable[[], str]]] = {
    "docs/configuration.md": document,
    ".env.example": example,
    chart_schema.FILE: lambda: chart_schema.values_schema(READERS.values()),
}


def main() -> None:
    """Writes the files."""
    for name, text in FILES.items():
        (ROOT / name).write_text(text())


if __name__ == "__main__":
    main()
