"""The configuration reference matches the settings classes and covers all of them."""

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import Field
from pydantic_settings import BaseSettings

from schemas.config.environment import Environment
from tests.support.repository import ROOT
from tests.support.repository.configuration import FILES, READERS, by_readers, settings_of


def classes(kind: type[BaseSettings] = Environment) -> Iterator[type[BaseSettings]]:
    """All settings classes of all packages."""
    for module in ("schemas.config.settings", "sql.settings", "consumer.settings", "api.settings"):
        importlib.import_module(module)
    for each in kind.__subclasses__():
        if not each.__module__.startswith("tests"):
            yield each
            yield from classes(each)


@pytest.mark.parametrize("name", FILES)
def test_the_generated_files_are_current(name: str) -> None:
    assert (ROOT / name).read_text() == FILES[name](), f"{name} is outdated: run `make configuration`"


def test_every_settings_class_is_in_the_reference() -> None:
    listed = {setting.name for settings in by_readers().values() for setting in settings}
    for kind in classes():
        missing = {name.upper() for name in kind.model_fields} - listed
        assert not missing, (
            f"{kind.__name__} has {missing}: add its command to READERS in tests/support/repository/configuration.py"
        )


def test_each_setting_is_in_the_reference_once() -> None:
    names = [setting.name for settings in by_readers().values() for setting in settings]
    assert len(names) == len(set(names))
    assert set(names) == {name.upper() for kind in READERS.values() for name in kind.model_fields}


def test_a_setting_without_a_description_is_an_error() -> None:
    class Mute(BaseSettings):
        speed: int = 3

    with pytest.raises(ValueError, match=r"Mute\.speed has no description"):
        settings_of(Mute)


def test_types_ranges_and_defaults_are_described() -> None:
    class Some(BaseSettings):
        share: float | None = Field(None, gt=0, le=1, description="a share")
        big: int = Field(5, ge=1, lt=1_000_000, description="a number")
        on: bool = Field(True, description="a switch")
        path: Path | None = Field(None, description="a file")

    described = [(each.type, each.default, each.range) for each in settings_of(Some)]
    assert described == [
        ("number", "", "more than 0, at most 1"),
        ("integer", "5", "1 or more, less than 1000000"),
        ("true or false", "true", ""),
        ("file", "", ""),
    ]
