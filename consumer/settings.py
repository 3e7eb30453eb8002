"""Settings of a consumer."""

import ssl
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import Field, SecretStr, model_validator

from schemas.config.environment import Environment
from schemas.config.extras import missing_formats
from schemas.config.settings import (
    DatabaseSettings,
    KafkaSettings,
    LogSettings,
    RegisterJitter,
    RetentionDays,
)
from schemas.tracing.settings import TracingSettings

MAX_INT32: Final = 2**31 - 1  # of the fields in Kafka's protocol
Format = Literal["json", "avro", "protobuf", "json-schema", "auto"]
_FORMAT: Final = (
    "json, or what a schema registry describes: avro, protobuf, json-schema; auto: JSON and all of these, told apart "
    "record by record"
)


class SchemaRegistrySettings(Environment):
    """Formats of the topics, and the schema registry that they need."""

    kafka_meter_format: Format = Field("json", description=f"format of KAFKA_METER_TOPIC: {_FORMAT}")
    kafka_vehicle_format: Format = Field("json", description="the same for KAFKA_VEHICLE_TOPIC")
    kafka_register_format: Format = Field("json", description="the same for KAFKA_REGISTER_TOPIC")
    kafka_assignment_format: Format = Field("json", description="the same for KAFKA_ASSIGNMENT_TOPIC")
    schema_registry_url: str = Field(
        "",
        pattern=r"^( *https?://[^ ,@]+ *(, *https?://[^ ,@]+ *)*)?$",
        description="schema registry with Confluent's API, such as http://localhost:8081; several separated by commas; "
        "required for every format but json",
    )
    schema_registry_username: str | None = Field(None, description="user name for basic authentication")
    schema_registry_password: SecretStr | None = Field(None, description="password of SCHEMA_REGISTRY_USERNAME")
    schema_registry_ssl_cafile: Path | None = Field(
        None, description="PEM file of the CA that signed the registry's certificate; unset: the system's CAs"
    )
    schema_registry_ssl_certfile: Path | None = Field(
        None, description="PEM file of the client certificate, if the registry requires one"
    )
    schema_registry_ssl_keyfile: Path | None = Field(None, description="PEM file of the client certificate's key")

    def schema_registry_ssl_context(self) -> ssl.SSLContext:
        """The certificates for connections to the registry."""
        context = ssl.create_default_context(cafile=self.schema_registry_ssl_cafile)
        if self.schema_registry_ssl_certfile:
            context.load_cert_chain(self.schema_registry_ssl_certfile, self.schema_registry_ssl_keyfile)
        return context

    @model_validator(mode="after")
    def _check_registry(self) -> Self:
        formats = {
            "KAFKA_METER_FORMAT": self.kafka_meter_format,
            "KAFKA_VEHICLE_FORMAT": self.kafka_vehicle_format,
            "KAFKA_REGISTER_FORMAT": self.kafka_register_format,
            "KAFKA_ASSIGNMENT_FORMAT": self.kafka_assignment_format,
        }
        for name, value in formats.items():
            if value == "json":
                continue
            if problem := missing_formats(f"{name}={value}"):
                raise ValueError(problem)
            if not self.schema_registry_url:
                raise ValueError(f"{name}={value} needs SCHEMA_REGISTRY_URL")
        if self.schema_registry_username and not self.schema_registry_password:
            raise ValueError("SCHEMA_REGISTRY_USERNAME needs SCHEMA_REGISTRY_PASSWORD")
        try:
            if "https:" in self.schema_registry_url:
                self.schema_registry_ssl_context()
        except (OSError, ssl.SSLError) as error:
            raise ValueError(
                "the files of SCHEMA_REGISTRY_SSL_CAFILE, SCHEMA_REGISTRY_SSL_CERTFILE and SCHEMA_REGISTRY_SSL_KEYFILE "
                f"cannot be used: {error}"
            ) from None
        return self


class ConsumerSettings(SchemaRegistrySettings, KafkaSettings, DatabaseSettings, TracingSettings, LogSettings):
    """The environment variables of `python -m consumer`."""

    kafka_group_id: str = Field(
        "energy-ingestion", description="consumers of one group share the partitions and the stored offsets"
    )
    kafka_group_instance_id: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        pattern=r"^[A-Za-z0-9._-]+$",
        description="static membership: each consumer's own name; a restart within the session time-out moves no partition",
    )
    kafka_session_timeout_ms: int = Field(
        10_000,
        ge=1000,
        le=MAX_INT32,
        description="a consumer without heartbeats for this long loses its partitions to the others; "
        "brokers accept 6000 to 1800000, unless their group.min.session.timeout.ms or group.max.session.timeout.ms differ",
    )
    kafka_max_poll_interval_ms: int = Field(
        300_000, ge=1000, le=MAX_INT32, description="a consumer that does not poll for this long leaves the group"
    )
    batch_max_records: int = Field(50_000, ge=1, le=1_000_000, description="records in a batch while behind")
    batch_max_bytes: int = Field(
        67_108_864,
        ge=1_048_576,
        description="bytes of keys and values that all batches of a consumer may hold, in equal parts for each topic",
    )
    record_max_bytes: int = Field(
        1_048_576, ge=1024, description="a record with a larger value becomes a dead letter (too_large)"
    )
    batch_max_wait_ms: int = Field(
        0,
        ge=0,
        le=60_000,
        description="how long a batch waits for more records while caught up, for fewer transactions; "
        "0: it is written as soon as the one before it is",
    )
    breaker_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="circuit breaker: a topic is stopped when more than this share of its last records is rejected; 1: never",
    )
    breaker_window_records: int = Field(
        1000, ge=1, description="circuit breaker: how many of the last records are considered"
    )
    register_jitter_kwh: RegisterJitter = 1.0
    retention_days: RetentionDays = 400
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="port of /metrics, /healthz and /readyz; 0: any free port; unset: 9464, or any free port when that is taken",
    )
    metrics_host: str = Field("0.0.0.0", description="address that METRICS_PORT is bound to")  # noqa: S104 - probes come from outside
    shutdown_timeout_seconds: float = Field(
        20,
        gt=0,
        description="on SIGTERM, how long the last batch may take before it is left to the partitions' next consumer",
    )

    def formats_by_topic(self) -> dict[str, Format]:
        """The format of each topic that is read."""
        return {
            **dict.fromkeys(self.meter_topics, self.kafka_meter_format),
            **dict.fromkeys(self.vehicle_topics, self.kafka_vehicle_format),
            **dict.fromkeys(self.register_topics, self.kafka_register_format),
            **dict.fromkeys(self.assignment_topics, self.kafka_assignment_format),
        }

    @model_validator(mode="after")
    def _require_distinct_topics(self) -> Self:
        topics = [
            *self.meter_topics,
            *self.vehicle_topics,
            *self.assignment_topics,
            *self.register_topics,
            self.kafka_alert_topic,
        ]
        twice = {topic for topic in topics if topics.count(topic) > 1}
        if twice:
            raise ValueError(f"the settings KAFKA_..._TOPIC name a topic twice: {', '.join(sorted(twice))}")
        return self
