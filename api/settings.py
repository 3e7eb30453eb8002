"""Settings of the read service, and of the HTTP gateway: beside it, or in a process of its own."""

from typing import Self

from pydantic import Field, SecretStr, model_validator

from schemas.settings import DatabaseSettings, JudgementSettings, KafkaSettings, LogSettings, RetentionDays

MEBIBYTE = 1_048_576


class GatewaySettings(KafkaSettings, LogSettings):
    """What `python -m api --only ingestion` reads from the environment; it needs no database."""

    api_host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 for all")
    api_port: int = Field(3000, ge=0, le=65535, description="port to listen on; 0 takes any free one")
    retention_days: RetentionDays = 400
    ingestion_acknowledged_within_seconds: float = Field(
        5, gt=0, le=300, description="a reading that Kafka has not acknowledged by then is answered with 503"
    )
    ingestion_body_within_seconds: float = Field(
        10, gt=0, le=300, description="a body that has not arrived by then is answered with 408"
    )
    ingestion_batch_max_items: int = Field(5000, ge=1, description="most readings in one batch; more: 413")
    ingestion_batch_max_bytes: int = Field(2 * MEBIBYTE, ge=1024, description="largest body of a batch; more: 413")
    ingestion_max_readings_in_flight: int = Field(
        20_000, ge=1, description="most readings that wait for Kafka at once; more: 429"
    )
    ingestion_max_requests_in_flight: int = Field(
        1000, ge=1, description="most requests that wait for Kafka at once; more: 429"
    )
    ingestion_max_bytes_in_flight: int = Field(
        32 * MEBIBYTE, ge=1024, description="most bytes of bodies that are held at once; more: 429"
    )
    answer_taken_within_seconds: float = Field(
        30, gt=0, description="a client that takes nothing of its answer for so long is cut off"
    )

    @model_validator(mode="after")
    def _one_full_batch_fits(self) -> Self:
        if self.ingestion_batch_max_items > self.ingestion_max_readings_in_flight:
            raise ValueError("INGESTION_BATCH_MAX_ITEMS is more than INGESTION_MAX_READINGS_IN_FLIGHT ever lets in")
        if self.ingestion_batch_max_bytes > self.ingestion_max_bytes_in_flight:
            raise ValueError("INGESTION_BATCH_MAX_BYTES is more than INGESTION_MAX_BYTES_IN_FLIGHT ever lets in")
        return self


class ApiSettings(GatewaySettings, DatabaseSettings, JudgementSettings):
    """What `python -m api` reads from the environment."""

    database_read_url: SecretStr | None = Field(None, description="a replica to read from; unset: DATABASE_URL")
    database_pool_size: int = Field(20, ge=1, le=1000, description="most connections to the database")
    ingestion_enabled: bool = Field(True, description="whether readings may be sent over HTTP")

    @property
    def read_url(self) -> SecretStr:
        """Where queries go."""
        return self.database_read_url or self.database_url
