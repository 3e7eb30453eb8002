"""Secrets are read from a setting or from the file that NAME_FILE names, and never shown."""

import subprocess
import sys
import traceback
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from api.settings import ApiSettings
from consumer.settings import ConsumerSettings
from schemas.config.environment import Environment
from schemas.config.secrets import SecretFileError, secret_settings
from schemas.config.settings import KafkaSettings, from_environment
from tests.support.repository import ROOT

SECRET = "Tr0mbone-quarry"
URL = f"postgresql://writer:{SECRET}@localhost/energy"


@pytest.fixture(autouse=True)
def directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in secret_settings(ApiSettings):
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(f"{name.upper()}_FILE", raising=False)
    return tmp_path


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
@pytest.mark.parametrize("name", ["database_url", "database_read_url", "kafka_sasl_password"])
def test_a_secret_is_read_from_its_file(
    monkeypatch: pytest.MonkeyPatch, directory: Path, name: str, ending: str
) -> None:
    (directory / "secret").write_bytes((URL + ending).encode())
    monkeypatch.setenv(f"{name.upper()}_FILE", str(directory / "secret"))
    assert getattr(ApiSettings(), name) == SecretStr(URL)


def test_only_one_trailing_line_break_is_removed(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    (directory / "secret").write_text("blank at the end \n\n")
    monkeypatch.setenv("KAFKA_SASL_PASSWORD_FILE", str(directory / "secret"))
    assert KafkaSettings().kafka_sasl_password == SecretStr("blank at the end \n")


@pytest.mark.parametrize("dotenv", [False, True])
def test_a_secret_that_is_set_twice_is_rejected(monkeypatch: pytest.MonkeyPatch, directory: Path, dotenv: bool) -> None:
    (directory / "secret").write_text(URL)
    given = {"DATABASE_URL": URL, "DATABASE_URL_FILE": str(directory / "secret")}
    if dotenv:
        (directory / ".env").write_text("".join(f"{name}={value}\n" for name, value in given.items()))
    else:
        for name, value in given.items():
            monkeypatch.setenv(name, value)
    with pytest.raises(SecretFileError, match="DATABASE_URL and DATABASE_URL_FILE are both set; keep one"):
        ConsumerSettings()


def test_a_file_from_the_environment_overrides_a_value_in_dotenv(
    monkeypatch: pytest.MonkeyPatch, directory: Path
) -> None:
    (directory / ".env").write_text("DATABASE_URL=postgresql://of-dotenv/energy\n")
    (directory / "secret").write_text(URL)
    monkeypatch.setenv("DATABASE_URL_FILE", str(directory / "secret"))
    assert ConsumerSettings().database_url == SecretStr(URL)


def test_a_value_from_the_environment_overrides_a_file_in_dotenv(
    monkeypatch: pytest.MonkeyPatch, directory: Path
) -> None:
    (directory / ".env").write_text("DATABASE_URL_FILE=not-there\n")
    monkeypatch.setenv("DATABASE_URL", URL)
    assert ConsumerSettings().database_url == SecretStr(URL)


def test_a_file_named_in_dotenv_is_read(directory: Path) -> None:
    (directory / "secret").write_text(URL)
    (directory / ".env").write_text(f"DATABASE_URL_FILE={directory / 'secret'}\n")
    assert ConsumerSettings().database_url == SecretStr(URL)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read: No such file"), (b"", "is empty"), (b"\n", "is empty"), (b"\xff" * 9, "is not UTF-8")],
)
def test_an_unusable_file_is_reported_with_its_setting(
    monkeypatch: pytest.MonkeyPatch,
    directory: Path,
    capsys: pytest.CaptureFixture[str],
    content: bytes | None,
    message: str,
) -> None:
    if content is not None:
        (directory / "secret").write_bytes(content)
    monkeypatch.setenv("KAFKA_SASL_PASSWORD_FILE", str(directory / "secret"))
    with pytest.raises(SystemExit, match="2"):
        from_environment(KafkaSettings)
    stderr = capsys.readouterr().err
    assert f"KAFKA_SASL_PASSWORD_FILE: {directory / 'secret'} {message}" in stderr


def test_every_secret_setting_can_be_a_file(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    class Example(Environment):
        one: SecretStr
        other: SecretStr | None = None
        open: str = "x"

    (directory / "secret").write_text(SECRET)
    monkeypatch.setenv("ONE_FILE", str(directory / "secret"))
    assert list(secret_settings(Example)) == ["one", "other"]
    assert Example().one == SecretStr(SECRET)


@pytest.mark.parametrize(
    "url",
    [f"postgresql://u:{SECRET}/rest@host/energy", f"mysql://u:{SECRET}@h/e", SECRET, f"postgresql://u@h:{SECRET}/e"],
)
def test_an_invalid_url_is_rejected_without_being_quoted(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises(ValidationError) as rejected:
        ConsumerSettings()
    assert "postgresql://user:password@host:port/database" in str(rejected.value)
    assert SECRET not in "".join(traceback.format_exception(rejected.value))


@pytest.mark.parametrize(
    "url", [URL, "postgres:///energy", "postgresql://a:5432,b:5433/e?sslmode=verify-full", "postgresql://[::1]:5432/e"]
)
def test_valid_urls_are_accepted(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    assert ConsumerSettings().database_url.get_secret_value() == url


@given(st.text(st.characters(codec="ascii", categories=["Lu", "Nd"]), min_size=12))
def test_settings_never_show_a_secret(password: str) -> None:
    settings = KafkaSettings(kafka_sasl_password=SecretStr(password))
    shown = (repr(settings), str(settings), repr(settings.model_dump()), settings.model_dump_json())
    empty = KafkaSettings()
    assert all(text.count(password) <= repr(empty).count(password) for text in shown)


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_in_the_log_shows_no_variable(form: str) -> None:
    """Runs in a process of its own, because configuring logging here would affect other tests."""
    script = (
        "import structlog\n"
        "from schemas.config.logging import configure_logging\n"
        "from schemas.config.settings import LogSettings\n"
        f"configure_logging(LogSettings(log_format={form!r}))\n"
        "def connect(url):\n"
        "    raise OSError('connection refused')\n"
        "try:\n"
        "    connect('Tr0mbone-' + 'quarry')\n"
        "except OSError:\n"
        "    structlog.get_logger('api').exception('failed')\n"
    )
    stderr = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stderr
    assert "Traceback" in stderr
    assert "connection refused" in stderr
    assert SECRET not in stderr


def test_sasl_without_a_password_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    with pytest.raises(ValidationError, match="needs KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"):
        KafkaSettings()


def test_an_unusable_certificate_is_rejected_at_startup(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "SSL")
    monkeypatch.setenv("KAFKA_SSL_CAFILE", str(directory / "not-there.pem"))
    with pytest.raises(ValidationError, match=r"KAFKA_SSL_CAFILE, .* cannot be used: .*No such file"):
        KafkaSettings()
    (directory / "not-there.pem").write_text("no certificate")
    with pytest.raises(ValidationError, match="cannot be used"):
        KafkaSettings()
