"""Settings of a consumer."""

from typing import Final, Self

from pydantic import Field, model_validator

from schemas.config.settings import DatabaseSettings, KafkaSettings, LogSettings, RegisterJitter, RetentionDays

MAX_INT32: Final = 2**31 - 1  # of the fields in Kafka's protocol


class ConsumerSettings(KafkaSettings, DatabaseSettings, LogSettings):
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
