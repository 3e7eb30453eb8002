"""What every process reads from its environment in the same way. Each room adds its own settings to these."""

import ssl
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, PostgresDsn, SecretStr, UrlConstraints, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

RetentionDays = Annotated[
    int, Field(ge=1, le=36500, description="how long history is kept; older readings are refused")
]


class Environment(BaseSettings):
    """Settings come from environment variables, and from a `.env` file in the working directory when there is one."""

    model_config = SettingsConfigDict(
        env_file=".env", extra="ignore", frozen=True, env_ignore_empty=True, hide_input_in_errors=True
    )


Settings = TypeVar("Settings", bound=Environment)


def from_environment(kind: type[Settings]) -> Settings:
    """The settings of a command. When they are not valid it says what is wrong on stderr and exits with code 2."""
    try:
        return kind()
    except ValidationError as error:
        sys.stderr.write(f"the settings are not valid:\n{error}\n")
        sys.exit(2)


class LogSettings(Environment):
    """How a process logs."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="what is less is not logged")
    log_format: Literal["json", "console"] = Field("json", description="json for machines, console for people")


class KafkaSettings(Environment):
    """How to reach Kafka and what the topics are called."""

    kafka_bootstrap_servers: str = Field("localhost:9092", description="host:port, several with commas between")
    kafka_meter_topic: str = Field("meter-readings", description="readings of meters, keyed by meter")
    kafka_vehicle_topic: str = Field("vehicle-readings", description="readings of vehicles, keyed by vehicle")
    kafka_register_topic: str | None = Field(
        None,
        description="meters that send their register instead of the energy of each interval; unset: there are none",
    )
    kafka_assignment_topic: str = Field(
        "vehicle-meter-assignments", description="which meter measures which vehicle, keyed by vehicle"
    )
    kafka_alert_topic: str = Field("efficiency-alerts", description="faults opened and closed; written")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="SSL encrypts, SASL proves who we are; SASL_SSL does both"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="how SASL proves it; PLAIN shows the password to the broker"
    )
    kafka_sasl_username: str | None = Field(None, description="who we are, with SASL")
    kafka_sasl_password: SecretStr | None = Field(None, description="the password of KAFKA_SASL_USERNAME")
    kafka_ssl_cafile: Path | None = Field(
        None, description="PEM of the authority that signed the brokers' certificates"
    )
    kafka_ssl_certfile: Path | None = Field(None, description="PEM of our certificate, when brokers ask for one")
    kafka_ssl_keyfile: Path | None = Field(None, description="PEM of its key")

    def client_options(self) -> dict[str, Any]:
        """Keyword arguments that every aiokafka client takes."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.kafka_bootstrap_servers,
            "security_protocol": self.kafka_security_protocol,
        }
        if self.kafka_security_protocol.startswith("SASL"):
            options |= {
                "sasl_mechanism": self.kafka_sasl_mechanism,
                "sasl_plain_username": self.kafka_sasl_username,
                "sasl_plain_password": self.kafka_sasl_password.get_secret_value()
                if self.kafka_sasl_password
                else None,
            }
        if self.kafka_security_protocol.endswith("SSL"):
            options["ssl_context"] = self._ssl_context()
        return options

    def _ssl_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.kafka_ssl_cafile)
        if self.kafka_ssl_certfile:
            context.load_cert_chain(self.kafka_ssl_certfile, self.kafka_ssl_keyfile)
        return context


DatabaseUrl = Annotated[PostgresDsn, UrlConstraints(allowed_schemes=["postgres", "postgresql"], host_required=False)]


class DatabaseSettings(Environment):
    """How to reach PostgreSQL."""

    database_url: SecretStr = Field(
        SecretStr("postgresql://localhost:5432/energy"),
        description="postgresql://user:password@host:port/database",
    )


class JudgementSettings(Environment):
    """When a vehicle's efficiency may be judged, and how. docs/analytics.md explains each default."""

    fault_below_percent: float = Field(85, ge=0, le=100, description="an efficiency below is a hardware fault")
    degraded_below_percent: float = Field(90, ge=0, le=100, description="an efficiency below deserves a look")
    judge_from_kwh: float = Field(1, ge=0, description="AC energy that it takes to judge a vehicle")
    judge_from_coverage: float = Field(
        0.8, ge=0, le=1, description="share of expected readings that it takes, on both sides"
    )
    judge_sides_apart: float = Field(
        0.02, ge=0, le=1, description="share of expected readings by which the two sides may differ"
    )
