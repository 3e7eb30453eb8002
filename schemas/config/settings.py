"""Settings shared by all processes, read from environment variables. Each package derives its own settings from these."""

import re
import ssl
import sys
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import SettingsError

from schemas.config.database_url import DatabaseUrl
from schemas.config.environment import Environment
from schemas.config.extras import require_archive
from schemas.config.kafka_tokens import KafkaTokenSettings
from schemas.identity.certificates import RenewedContext, check_files

_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")
_SEVERAL: Final = "several separated by commas, of which the HTTP gateway sends to the first"
ArchiveDirectory = Annotated[
    Path | None,
    Field(
        description="directory of months as Parquet: maintenance writes a month there before it drops it "
        "(unset: without an archive), and the API reads there what is no longer in the database "
        "(unset: such periods are answered with 410)"
    ),
    AfterValidator(require_archive),
]
RetentionDays = Annotated[
    int, Field(ge=1, le=36500, description="how many days history is kept; older readings are rejected")
]
RegisterJitter = Annotated[
    float,
    Field(
        ge=0, description="a register that falls by no more than this was not reset; it continues from its last value"
    ),
]


Settings = TypeVar("Settings", bound=Environment)


def from_environment(kind: type[Settings]) -> Settings:
    """The settings of a command. If they are not valid, prints the errors to stderr and exits with code 2."""
    try:
        return kind()
    except (ValidationError, SettingsError) as error:
        sys.stderr.write(f"the settings are not valid:\n{error}\n")
        sys.exit(2)


class LogSettings(Environment):
    """Logging."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="lowest level that is logged")
    log_format: Literal["json", "console"] = Field("json", description="json for machines, console for humans")


def topic_names(listed: str | None) -> list[str]:
    """The names of a setting that lists topics."""
    return [name.strip() for name in listed.split(",")] if listed else []


def _valid_topics(listed: str) -> str:
    for name in topic_names(listed):
        if not _TOPIC.fullmatch(name) or name in {".", ".."}:
            raise ValueError(
                f"{name!r} is not the name of a topic: 1 to 249 of A-Z a-z 0-9 . _ -; several names are separated by commas"
            )
    return listed


Topics = Annotated[str, AfterValidator(_valid_topics)]


class KafkaSettings(KafkaTokenSettings):
    """Connection to Kafka, and the names of the topics."""

    kafka_bootstrap_servers: str = Field("localhost:9092", description="host:port, several separated by commas")
    kafka_meter_topic: Topics = Field("meter-readings", description=f"readings of meters, keyed by meter; {_SEVERAL}")
    kafka_vehicle_topic: Topics = Field(
        "vehicle-readings", description=f"readings of vehicles, keyed by vehicle; {_SEVERAL}"
    )
    kafka_register_topic: Topics | None = Field(
        None,
        description="readings of meters that send their cumulative register instead of interval energy; several separated by "
        "commas; unset: no such topic",
    )
    kafka_assignment_topic: Topics = Field(
        "vehicle-meter-assignments",
        description="which meter measures which vehicle, keyed by vehicle; several separated by commas",
    )
    kafka_alert_topic: str = Field(
        "efficiency-alerts", description="alerts about opened and closed faults, published by consumers"
    )
    kafka_sasl_username: str | None = Field(None, description="user name for SASL")
    kafka_sasl_password: SecretStr | None = Field(None, description="password of KAFKA_SASL_USERNAME")
    kafka_ssl_cafile: Path | None = Field(None, description="PEM file of the CA that signed the brokers' certificates")
    kafka_ssl_certfile: Path | None = Field(
        None, description="PEM file of the client certificate, if the brokers require one"
    )
    kafka_ssl_keyfile: Path | None = Field(None, description="PEM file of the client certificate's key")

    @property
    def meter_topics(self) -> list[str]:
        """The topics of meter readings; ours are sent to the first."""
        return topic_names(self.kafka_meter_topic)

    @property
    def vehicle_topics(self) -> list[str]:
        """The topics of vehicle readings; ours are sent to the first."""
        return topic_names(self.kafka_vehicle_topic)

    @property
    def register_topics(self) -> list[str]:
        """The topics of cumulative registers, possibly none."""
        return topic_names(self.kafka_register_topic)

    @property
    def assignment_topics(self) -> list[str]:
        """The topics of vehicle-meter assignments."""
        return topic_names(self.kafka_assignment_topic)

    def client_options(self) -> dict[str, Any]:
        """Keyword arguments for any aiokafka client. Clients created with them never create a topic."""
        from schemas.config.aiokafka_patches import patch_aiokafka  # noqa: PLC0415 - imports aiokafka, which takes half a second

        patch_aiokafka()
        options: dict[str, Any] = {
            "bootstrap_servers": self.kafka_bootstrap_servers,
            "security_protocol": self.kafka_security_protocol,
        }
        if self.uses_tokens:
            options |= {"sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token_provider": self.token_provider}
        elif self.kafka_security_protocol.startswith("SASL"):
            options |= {
                "sasl_mechanism": self.kafka_sasl_mechanism,
                "sasl_plain_username": self.kafka_sasl_username,
                "sasl_plain_password": self.kafka_sasl_password.get_secret_value()
                if self.kafka_sasl_password
                else None,
            }
        if self.kafka_security_protocol.endswith("SSL"):
            options["ssl_context"] = RenewedContext(self._ssl_context)
        return options

    def unreachable_message(self) -> str:
        """Message for the time without a broker connection. aiokafka only logs the cause: `Unable connect to ...`."""
        if problem := self.token_problem():
            return problem
        identity = ""
        if self.kafka_security_protocol.startswith("SASL"):
            identity = " with a token" if self.uses_tokens else f" as {self.kafka_sasl_username}"
        return (
            f"Kafka at {self.kafka_bootstrap_servers} does not answer over {self.kafka_security_protocol}{identity}; "
            "the log has the cause: Unable connect to ..."
        )

    @model_validator(mode="after")
    def _check_security_settings(self) -> Self:
        if (
            self.kafka_security_protocol.startswith("SASL")
            and not self.uses_tokens
            and not (self.kafka_sasl_username and self.kafka_sasl_password)
        ):
            raise ValueError(
                f"KAFKA_SECURITY_PROTOCOL={self.kafka_security_protocol} needs KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"
            )
        if self.kafka_security_protocol.endswith("SSL"):
            check_files(self._ssl_context, "KAFKA_SSL_CAFILE, KAFKA_SSL_CERTFILE and KAFKA_SSL_KEYFILE")
        return self

    def _ssl_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.kafka_ssl_cafile)
        if self.kafka_ssl_certfile:
            context.load_cert_chain(self.kafka_ssl_certfile, self.kafka_ssl_keyfile)
        return context


class DatabaseSettings(Environment):
    """Connection to PostgreSQL."""

    database_url: DatabaseUrl = Field(
        SecretStr("postgresql://localhost:5432/energy"),
        description="postgresql://user:password@host:port/database; of two servers with failover: "
        "postgresql://user:password@host1:port,host2:port/database?target_session_attrs=primary",
    )
    sql_log_slower_than_ms: int | None = Field(
        None, ge=0, description="log statements that take longer, without their arguments; unset: none"
    )


class JudgementSettings(Environment):
    """Thresholds for efficiency, and the data required to judge it. docs/analytics.md explains each default."""

    fault_below_percent: float = Field(
        85, ge=0, le=100, description="efficiency in % below which a charger has a hardware fault"
    )
    degraded_below_percent: float = Field(
        90, ge=0, le=100, description="efficiency in % below which a charger is degraded"
    )
    judge_from_kwh: float = Field(1, ge=0, description="AC energy in kWh required to judge a vehicle")
    judge_from_coverage: float = Field(
        0.8, ge=0, le=1, description="share of the expected readings required on both sides"
    )
    judge_sides_apart: float = Field(
        0.02, ge=0, le=1, description="share of the expected readings by which the two sides may differ"
    )
