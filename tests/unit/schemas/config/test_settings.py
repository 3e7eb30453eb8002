"""Settings: .env.example lists every one, and the defaults are those of the contract."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic_settings import BaseSettings

from api.settings import ApiSettings
from consumer.settings import ConsumerSettings
from schemas.config.secrets import secret_settings
from schemas.config.settings import from_environment
from sql.settings import MaintainSettings, MoveSettings
from tests.support.repository import ROOT

KINDS = (ApiSettings, ConsumerSettings, MaintainSettings, MoveSettings)
EXAMPLE = (ROOT / ".env.example").read_text()
# Read only by the local stack and the demo.
OF_THE_STACK = {"LOCAL_STACK", "POSTGRES_BINARIES", "KAFKA_PORT", "POSTGRES_PORT"}


def test_env_example_lists_every_setting_and_no_other() -> None:
    listed = set(re.findall(r"^#?([A-Z][A-Z_]+)=", EXAMPLE, re.MULTILINE))
    known = {name.upper() for kind in KINDS for name in kind.model_fields}
    files = {f"{name.upper()}_FILE" for kind in KINDS for name in secret_settings(kind)}
    assert listed == known | files | OF_THE_STACK


@pytest.mark.parametrize("kind", KINDS)
def test_env_example_shows_the_defaults(kind: type[BaseSettings]) -> None:
    shown = dict(re.findall(r"^#?([A-Z][A-Z_]+)=(\S*)", EXAMPLE, re.MULTILINE))
    for name, field in kind.model_fields.items():
        default = field.get_default(call_default_factory=True, validated_data={})
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
    with pytest.raises(ValidationError, match="name a topic twice: meter-readings"):
        ConsumerSettings()


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://someone:hush@localhost/energy")
    monkeypatch.setenv("KAFKA_SASL_PASSWORD", "hush")
    assert "hush" not in repr(ConsumerSettings())


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("connect_timeout=10", "does not implement the parameters connect_timeout; remove them"),
        ("sslmode=require&channel_binding=require", "does not implement the parameters channel_binding; remove them"),
        ("keepalives=1&gssencmode=disable", "does not implement the parameters gssencmode, keepalives; remove them"),
        ("sslmod=require", "has an unknown parameter; known are application_name, "),
        ("statement_timeout=5s", "settings of the server are given as options="),
        ("sslmode=on", "sslmode must be one of disable, allow, prefer, require, verify-ca, verify-full"),
        ("target_session_attrs=write", "target_session_attrs must be one of any, read-write"),
        ("sslrootcert=/nowhere/ca.pem", "the file of sslrootcert does not exist"),
        ("sslmode", "must have the form"),
    ],
)
@pytest.mark.parametrize("setting", ["DATABASE_URL", "DATABASE_READ_URL"])
def test_a_url_that_can_never_work_ends_the_process_with_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], setting: str, parameters: str, message: str
) -> None:
    monkeypatch.setenv(setting, f"postgresql://someone:hush@localhost/energy?{parameters}")
    with pytest.raises(SystemExit) as ended:
        from_environment(ApiSettings)
    assert ended.value.code == 2
    stderr = capsys.readouterr().err
    assert setting.lower() in stderr
    assert message in stderr
    assert "hush" not in stderr


def test_the_name_of_an_unknown_parameter_is_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://someone:12?hush=3@localhost/energy")
    with pytest.raises(ValidationError) as rejected:
        ConsumerSettings()
    assert "hush" not in str(rejected.value)


def test_parameters_of_the_driver_and_options_of_the_server_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    url = (
        "postgresql://a:5432,b:5432/energy?target_session_attrs=read-write&sslmode=require&options=-c%20work_mem%3D8MB"
    )
    monkeypatch.setenv("DATABASE_URL", url)
    assert ConsumerSettings().database_url.get_secret_value() == url


@pytest.mark.parametrize("setting", ["KAFKA_SESSION_TIMEOUT_MS", "KAFKA_MAX_POLL_INTERVAL_MS"])
def test_a_time_that_kafkas_protocol_cannot_carry_is_rejected(monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    monkeypatch.setenv(setting, str(2**31))
    with pytest.raises(ValidationError, match="less than or equal to 2147483647"):
        ConsumerSettings()


def test_a_day_is_folded_before_its_month_is_dropped() -> None:
    with pytest.raises(ValidationError, match="FOLD_AFTER_DAYS must not be more than RETENTION_DAYS"):
        MaintainSettings(retention_days=2, fold_after_days=3)
    assert MaintainSettings(retention_days=2).fold_after_days == 2
    assert MaintainSettings().fold_after_days == 3


def test_a_setting_may_list_several_topics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_METER_TOPIC", "meter-readings, east.meter-readings")
    settings = ConsumerSettings()
    assert settings.meter_topics == ["meter-readings", "east.meter-readings"]
    assert settings.register_topics == []


@pytest.mark.parametrize(
    ("listed", "error"),
    [
        ("meter readings", "'meter readings' is not the name of a topic"),
        ("a,,b", "'' is not the name of a topic"),
        ("a,a", "name a topic twice: a"),
        ("vehicle-readings", "name a topic twice: vehicle-readings"),
    ],
)
def test_wrong_lists_of_topics_are_rejected(monkeypatch: pytest.MonkeyPatch, listed: str, error: str) -> None:
    monkeypatch.setenv("KAFKA_METER_TOPIC", listed)
    with pytest.raises(ValidationError, match=error):
        ConsumerSettings()
