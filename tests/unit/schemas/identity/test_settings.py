"""Settings of tokens: one source, with what it needs."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from schemas.config import extras
from schemas.config.settings import KafkaSettings

ENDPOINT: dict[str, Any] = {
    "kafka_oauth_token_url": "https://login.example/token",
    "kafka_oauth_client_id": "consumer",
    "kafka_oauth_client_secret": SecretStr("Tr0mbone"),
}
SOURCES = "KAFKA_OAUTH_TOKEN_URL, KAFKA_OAUTH_TOKEN_FILE, KAFKA_OAUTH_AWS_REGION"


def settings(**values: Any) -> KafkaSettings:
    return KafkaSettings(kafka_security_protocol="SASL_SSL", kafka_sasl_mechanism="OAUTHBEARER", **values)


def test_all_clients_of_a_process_share_one_token() -> None:
    shared = settings(**ENDPOINT)
    providers = [shared.client_options()["sasl_oauth_token_provider"] for _ in range(2)]
    assert providers[0] is providers[1]
    assert "sasl_plain_password" not in shared.client_options()
    assert "Tr0mbone" not in repr(shared)


def test_extensions_are_sent_with_the_token() -> None:
    given = settings(**ENDPOINT, kafka_oauth_extensions="logicalCluster=lkc-1,identityPoolId=pool-1")
    assert given.token_provider.extensions() == {"logicalCluster": "lkc-1", "identityPoolId": "pool-1"}


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({}, f"needs exactly one of {SOURCES}"),
        (ENDPOINT | {"kafka_oauth_token_file": Path("/run/token")}, f"needs exactly one of {SOURCES}"),
        (
            {"kafka_oauth_token_url": "https://login.example"},
            "needs KAFKA_OAUTH_CLIENT_ID and KAFKA_OAUTH_CLIENT_SECRET",
        ),
        (ENDPOINT | {"kafka_oauth_token_url": "https://me:pw@login.example"}, "String should match pattern"),
        (ENDPOINT | {"kafka_oauth_ssl_cafile": Path("/nowhere")}, "the files of KAFKA_OAUTH_SSL_CAFILE cannot be used"),
        (ENDPOINT | {"kafka_oauth_extensions": "logicalCluster"}, "String should match pattern"),
    ],
)
def test_settings_that_cannot_work_are_rejected(values: dict[str, Any], error: str) -> None:
    with pytest.raises(ValidationError, match=error):
        settings(**values)


@pytest.mark.parametrize(
    ("values", "extra"), [(ENDPOINT, "oauth"), ({"kafka_oauth_aws_region": "eu-central-1"}, "msk")]
)
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, values: dict[str, Any], extra: str) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    with pytest.raises(ValidationError, match=f"needs the extra `{extra}`"):
        settings(**values)


def test_token_settings_mean_nothing_without_the_mechanism() -> None:
    unused = KafkaSettings(**ENDPOINT | {"kafka_oauth_token_file": Path("/run/token")})
    assert "sasl_mechanism" not in unused.client_options()
    assert unused.token_problem() is None
