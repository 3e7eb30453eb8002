"""Secrets from files: NAME_FILE=/run/secrets/... in place of NAME=... for every setting that holds a secret.

Precedence: environment -> its NAME_FILE variables -> `.env` -> its NAME_FILE variables. One level must not set both.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsError


class SecretFileError(SettingsError):
    """A secret file cannot be used. The message names the setting and the file, never its content."""


def secret_settings(kind: type[BaseSettings]) -> Iterator[str]:
    """The field names of all settings that hold a secret; each can also be given as NAME_FILE."""
    for name, field in kind.model_fields.items():
        if _is_secret(field.annotation):
            yield name


def _is_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(map(_is_secret, get_args(annotation)))


class SecretFiles(PydanticBaseSettingsSource):
    """The NAME_FILE variables of one settings source: the environment or `.env`."""

    def __init__(self, kind: type[BaseSettings], variables: EnvSettingsSource) -> None:
        super().__init__(kind)
        self._variables = variables

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The content of the setting's file; None when NAME_FILE is not set.

        Raises:
            SecretFileError: NAME and NAME_FILE are both set, or the file cannot be read or is empty.
        """
        setting = field_name.upper()
        file = self._variables.env_vars.get(f"{field_name}_file")
        if file is None:
            return None, field_name, False
        if self._variables.env_vars.get(field_name) is not None:
            raise SecretFileError(f"{setting} and {setting}_FILE are both set; keep one of them")
        return _read(f"{setting}_FILE", Path(file)), field_name, False

    def __call__(self) -> dict[str, Any]:
        """The secrets that no source of higher precedence has set."""
        found: dict[str, Any] = {}
        for name in secret_settings(self.settings_cls):
            if name in self.current_state:
                continue
            value, key, _ = self.get_field_value(self.settings_cls.model_fields[name], name)
            if value is not None:
                found[key] = value
        return found


def _read(setting: str, file: Path) -> str:
    try:
        content = file.read_text(encoding="utf-8")
    except OSError as error:
        raise SecretFileError(f"{setting}: {file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SecretFileError(f"{setting}: {file} is not UTF-8 text") from None
    secret = content.removesuffix("\n").removesuffix("\r")  # editors and `echo` end a file with a line break
    if not secret:
        raise SecretFileError(f"{setting}: {file} is empty")
    return secret
