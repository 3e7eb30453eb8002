"""A secret comes from its setting or from the file that NAME_FILE names, and is shown nowhere."""

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
from schemas.config.secrets import SecretFileError, secret_settings
from schemas.config.settings import Environment, KafkaSettings, from_environment
from tests.support.repository import ROOT

SECRET = "Tr0mbone-quarry"
URL = f"postgresql://writer:{SECRET}@localhost/energy"


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in secret_settings(ApiSettings):
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(f"{name.upper()}_FILE", raising=False)
    return tmp_path


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
@pytest.mark.parametrize("name", ["database_url", "database_read_url", "kafka_sasl_password"])
def test_a_secret_is_read_from_its_file(monkeypatch: pytest.MonkeyPatch, place: Path, name: str, ending: str) -> None:
    (place / "secret").write_bytes((URL + ending).encode())
    monkeypatch.setenv(f"{name.upper()}_FILE", str(place / "secret"))
    assert getattr(ApiSettings(), name) == SecretStr(URL)


def test_only_one_line_break_is_taken_off(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    (place / "secret").write_text("blank at the end \n\n")
    monkeypatch.setenv("KAFKA_SASL_PASSWORD_FILE", str(place / "secret"))
    assert KafkaSettings().kafka_sasl_password == SecretStr("blank at the end \n")


@pytest.mark.parametrize("dotenv", [False, True])
def test_a_secret_given_twice_is_refused(monkeypatch: pytest.MonkeyPatch, place: Path, dotenv: bool) -> None:
    (place / "secret").write_text(URL)
    given = {"DATABASE_URL": URL, "DATABASE_URL_FILE": str(place / "secret")}
    if dotenv:
        (place / ".env").write_text("".join(f"{name}={value}\n" for name, value in given.items()))
    else:
        for name, value in given.items():
            monkeypatch.setenv(name, value)
    with pytest.raises(SecretFileError, match="DATABASE_URL and DATABASE_URL_FILE are both set; keep one"):
        ConsumerSettings()


def test_a_file_of_the_environment_wins_over_a_value_in_dotenv(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    (place / ".env").write_text("DATABASE_URL=postgresql://of-dotenv/energy\n")
    (place / "secret").write_text(URL)
    monkeypatch.setenv("DATABASE_URL_FILE", str(place / "secret"))
    assert ConsumerSettings().database_url == SecretStr(URL)


def test_a_value_of_the_environment_wins_over_a_file_in_dotenv(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    (place / ".env").write_text("DATABASE_URL_FILE=not-there\n")
    monkeypatch.setenv("DATABASE_URL", URL)
    assert ConsumerSettings().database_url == SecretStr(URL)


def test_a_file_named_in_dotenv_is_read(place: Path) -> None:
    (place / "secret").write_text(URL)
    (place / ".env").write_text(f"DATABASE_URL_FILE={place / 'secret'}\n")
    assert ConsumerSettings().database_url == SecretStr(URL)


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "cannot be read: No such file"), (b"", "is empty"), (b"\n", "is empty"), (b"\xff" * 9, "is not UTF-8")],
)
def test_a_useless_file_is_named_with_its_setting(
    monkeypatch: pytest.MonkeyPatch, place: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, says: str
) -> None:
    if content is not None:
        (place / "secret").write_bytes(content)
    monkeypatch.setenv("KAFKA_SASL_PASSWORD_FILE", str(place / "secret"))
    with pytest.raises(SystemExit, match="2"):
        from_environment(KafkaSettings)
    said = capsys.readouterr().err
    assert f"KAFKA_SASL_PASSWORD_FILE: {place / 'secret'} {says}" in said


def test_every_secret_of_a_setting_to_come_can_be_a_file(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    class Later(Environment):
        one: SecretStr
        other: SecretStr | None = None
        open: str = "x"

    (place / "secret").write_text(SECRET)
    monkeypatch.setenv("ONE_FILE", str(place / "secret"))
    assert list(secret_settings(Later)) == ["one", "other"]
    assert Later().one == SecretStr(SECRET)


@pytest.mark.parametrize(
    "url",
    [f"postgresql://u:{SECRET}/rest@host/energy", f"mysql://u:{SECRET}@h/e", SECRET, f"postgresql://u@h:{SECRET}/e"],
)
def test_a_url_that_cannot_be_read_is_refused_without_being_quoted(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises(ValidationError) as refused:
        ConsumerSettings()
    assert "postgresql://user:password@host:port/database" in str(refused.value)
    assert SECRET not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    "url", [URL, "postgres:///energy", "postgresql://a:5432,b:5433/e?sslmode=verify-full", "postgresql://[::1]:5432/e"]
)
def test_urls_of_all_forms_are_taken(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
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
    """In a process of its own, for the log of this one is the tests'."""
    script = (
        "import structlog\n"
        "from schemas.config.logging import configure_logging\n"
        "from schemas.config.settings import LogSettings\n"
        f"configure_logging(LogSettings(log_format={form!r}))\n"
        "def connect(url):\n"
        "    raise OSError('nobody is there')\n"
        "try:\n"
        "    connect('Tr0mbone-' + 'quarry')\n"
        "except OSError:\n"
        "    structlog.get_logger('api').exception('failed')\n"
    )
    said = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stderr
    assert "Traceback" in said
    assert "nobody is there" in said
    assert SECRET not in said


def test_sasl_without_a_password_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    with pytest.raises(ValidationError, match="needs KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"):
        KafkaSettings()


def test_a_certificate_that_cannot_be_used_is_refused_at_once(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "SSL")
    monkeypatch.setenv("KAFKA_SSL_CAFILE", str(place / "not-there.pem"))
    with pytest.raises(ValidationError, match=r"KAFKA_SSL_CAFILE, .* cannot be used: .*No such file"):
        KafkaSettings()
    (place / "not-there.pem").write_text("no certificate")
    with pytest.raises(ValidationError, match="cannot be used"):
        KafkaSettings()
