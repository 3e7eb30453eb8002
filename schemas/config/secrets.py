"""A setting that holds a secret can name a file instead: NAME_FILE=/run/secrets/... in place of NAME=...

environment -> its NAME_FILEs -> `.env` -> its NAME_FILEs; what comes first wins, and one level never says both.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsError


class SecretFileError(SettingsError):
    """A secret cannot be taken from its file. The message names the setting and the file, never what is in it."""


def secret_settings(kind: type[BaseSettings]) -> Iterator[str]:
    """The names, as fields, of all settings that hold a secret: each can be given as NAME_FILE as well."""
    for name, field in kind.model_fields.items():
        if _holds_a_secret(field.annotation):
            yield name


def _holds_a_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(map(_holds_a_secret, get_args(annotation)))


class SecretFiles(PydanticBaseSettingsSource):
    """The NAME_FILEs of one source: of the environment, or of `.env`."""

    def __init__(self, kind: type[BaseSettings], beside: EnvSettingsSource) -> None:
        super().__init__(kind)
        self._beside = beside

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The content of the setting's file, None when none is named.

        Raises:
            SecretFileError: when the secret is given twice, or the file cannot be read or is empty.
        """
        setting = field_name.upper()
        file = self._beside.env_vars.get(f"{field_name}_file")
        if file is None:
            return None, field_name, False
        if self._beside.env_vars.get(field_name) is not None:
            raise SecretFileError(f"{setting} and {setting}_FILE are both set; keep one of them")
        return _read(f"{setting}_FILE", Path(file)), field_name, False

    def __call__(self) -> dict[str, Any]:
        """The secrets that no source before this one has given."""
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
