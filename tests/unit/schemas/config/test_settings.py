"""Settings: .env.example lists every one, and the defaults are those of the contract."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic_settings import BaseSettings

from api.settings import ApiSettings
from consumer.settings import ConsumerSettings
from schemas.config.secrets import secret_settings
from sql.settings import MaintainSettings
from tests.support.repository import ROOT

KINDS = (ApiSettings, ConsumerSettings, MaintainSettings)
EXAMPLE = (ROOT / ".env.example").read_text()
# Read only by the local stack and the demo.
OF_THE_STACK = {"LOCAL_STACK", "KAFKA_PORT", "POSTGRES_PORT"}


def test_env_example_lists_every_setting_and_no_other() -> None:
    listed = set(re.findall(r"^#?([A-Z][A-Z_]+)=", EXAMPLE, re.MULTILINE))
    known = {name.upper() for kind in KINDS for name in kind.model_fields}
    files = {f"{name.upper()}_FILE" for kind in KINDS for name in secret_settings(kind)}
    assert listed == known | files | OF_THE_STACK


@pytest.mark.parametrize("kind", KINDS)
def test_env_example_shows_the_defaults(kind: type[BaseSettings]) -> None:
    shown = dict(re.findall(r"^#?([A-Z][A-Z_]+)=(\S*)", EXAMPLE, re.MULTILINE))
    for name, field in kind.model_fields.items():
        default = field.default
        text = default.get_secret_value() if hasattr(default, "get_secret_value") else default
        expected = "" if text is None else str(text).lower() if isinstance(text, bool) else str(text)
        assert shown[name.upper()] == expected, name


def test_the_defaults_are_those_of_the_contract(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("KAFKA_GROUP_ID", "DATABASE_URL", "DATABASE_READ_URL", "API_PORT", "RETENTION_DAYS"):
        monkeypatch.delenv(name, raising=False)
    assert ConsumerSettings().kafka_group_id == "energy-ingestion"
    assert ConsumerSettings().retention_days == 400
    api = ApiSettings()
    assert (api.database_pool_size, api.api_port, api.database_read_url) == (20, 3000, None)


def test_two_record_types_cannot_share_a_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_REGISTER_TOPIC", "meter-readings")
    with pytest.raises(ValidationError, match="the same topic: meter-readings"):
        ConsumerSettings()


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://someone:hush@localhost/energy")
    monkeypatch.setenv("KAFKA_SASL_PASSWORD", "hush")
    assert "hush" not in repr(ConsumerSettings())
