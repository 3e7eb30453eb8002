"""Tokens as the identity towards Kafka (OAUTHBEARER): where they come from, and what the settings must have for it."""

import ssl
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, model_validator

from schemas.config.environment import Environment
from schemas.config.extras import missing_msk, missing_oauth
from schemas.identity.certificates import check_files


class KafkaTokenSettings(Environment):
    """The protocol of connections to Kafka, and the source of tokens for OAUTHBEARER."""

    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="SSL encrypts, SASL authenticates, SASL_SSL does both"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = Field(
        "SCRAM-SHA-512",
        description="SASL mechanism; PLAIN sends the password to the broker; OAUTHBEARER needs one of "
        "KAFKA_OAUTH_TOKEN_URL, KAFKA_OAUTH_TOKEN_FILE and KAFKA_OAUTH_AWS_REGION",
    )
    kafka_oauth_token_url: str | None = Field(
        None,
        pattern=r"^https?://[^ @]+$",
        description="token endpoint that grants the tokens for OAUTHBEARER (client credentials)",
    )
    kafka_oauth_client_id: str | None = Field(None, description="client at KAFKA_OAUTH_TOKEN_URL")
    kafka_oauth_client_secret: SecretStr | None = Field(None, description="secret of KAFKA_OAUTH_CLIENT_ID")
    kafka_oauth_scope: str | None = Field(None, description="scope to ask for; several separated by spaces")
    kafka_oauth_ssl_cafile: Path | None = Field(
        None, description="PEM file of the CA that signed the token endpoint's certificate; unset: the system's CAs"
    )
    kafka_oauth_token_file: Path | None = Field(
        None, description="file with a token that another process keeps up to date, instead of KAFKA_OAUTH_TOKEN_URL"
    )
    kafka_oauth_aws_region: str | None = Field(
        None,
        pattern=r"^[a-z0-9-]+$",
        description="region of a cluster of Amazon MSK with IAM: tokens are signed with the credentials that the AWS SDK "
        "finds, instead of KAFKA_OAUTH_TOKEN_URL; needs the extra `msk`",
    )
    kafka_oauth_extensions: str = Field(
        "",
        pattern=r"^([A-Za-z]+=[^,=]+(,[A-Za-z]+=[^,=]+)*)?$",
        description="SASL extensions beside the token, such as logicalCluster=lkc-1,identityPoolId=pool-1",
    )

    @property
    def uses_tokens(self) -> bool:
        """Whether clients authenticate with OAUTHBEARER."""
        return self.kafka_security_protocol.startswith("SASL") and self.kafka_sasl_mechanism == "OAUTHBEARER"

    @cached_property
    def token_provider(self) -> Any:
        """The TokenProvider of these settings: all clients share its token."""
        from schemas.identity.sessions import patch_sessions  # noqa: PLC0415 - aiokafka
        from schemas.identity.sources import AwsToken, TokenEndpoint, TokenFile  # noqa: PLC0415
        from schemas.identity.tokens import TokenProvider  # noqa: PLC0415

        patch_sessions()
        source: Any
        if self.kafka_oauth_token_file:
            source = TokenFile(self.kafka_oauth_token_file)
        elif self.kafka_oauth_aws_region:
            source = AwsToken(self.kafka_oauth_aws_region)
        else:
            secret = self.kafka_oauth_client_secret
            source = TokenEndpoint(
                self.kafka_oauth_token_url or "",
                self.kafka_oauth_client_id or "",
                secret.get_secret_value() if secret else "",
                self.kafka_oauth_scope,
                self._oauth_ssl_context,
            )
        extensions = dict(each.split("=") for each in self.kafka_oauth_extensions.split(",") if each)
        return TokenProvider(source, extensions)

    def token_problem(self) -> str | None:
        """Why Kafka cannot be reached for want of a token; None without OAUTHBEARER, or when there is no such reason."""
        problem: str | None = self.token_provider.problem() if self.uses_tokens else None
        return problem

    @model_validator(mode="after")
    def _check_token_settings(self) -> Self:
        if not self.uses_tokens:
            return self
        sources = {
            "KAFKA_OAUTH_TOKEN_URL": self.kafka_oauth_token_url,
            "KAFKA_OAUTH_TOKEN_FILE": self.kafka_oauth_token_file,
            "KAFKA_OAUTH_AWS_REGION": self.kafka_oauth_aws_region,
        }
        chosen = [name for name, value in sources.items() if value]
        if len(chosen) != 1:
            raise ValueError(f"KAFKA_SASL_MECHANISM=OAUTHBEARER needs exactly one of {', '.join(sources)}")
        if self.kafka_oauth_aws_region and (problem := missing_msk("KAFKA_OAUTH_AWS_REGION")):
            raise ValueError(problem)
        if self.kafka_oauth_token_url:
            if problem := missing_oauth("KAFKA_OAUTH_TOKEN_URL"):
                raise ValueError(problem)
            if not (self.kafka_oauth_client_id and self.kafka_oauth_client_secret):
                raise ValueError("KAFKA_OAUTH_TOKEN_URL needs KAFKA_OAUTH_CLIENT_ID and KAFKA_OAUTH_CLIENT_SECRET")
            check_files(self._oauth_ssl_context, "KAFKA_OAUTH_SSL_CAFILE")
        return self

    def _oauth_ssl_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.kafka_oauth_ssl_cafile)
