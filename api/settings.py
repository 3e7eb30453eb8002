"""Settings of the read service, and of the HTTP gateway: beside it, or in a process of its own."""

import re
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from schemas.config.settings import (
    DatabaseSettings,
    DatabaseUrl,
    Environment,
    JudgementSettings,
    KafkaSettings,
    LogSettings,
    RetentionDays,
)

_ORIGIN: Final = re.compile(r"https?://[a-z0-9.-]+(:\d{1,5})?|https?://\[[0-9a-f:]+\](:\d{1,5})?")


def _exact_origins(listed: str | None) -> str | None:
    for origin in _split(listed):
        if not _ORIGIN.fullmatch(origin):
            raise ValueError(
                f"{origin} is no origin: those are https://host or https://host:port in small letters, without a path"
            )
    return listed


def _split(listed: str | None) -> list[str]:
    return [each.strip() for each in listed.split(",") if each.strip()] if listed else []


class KeySettings(Environment):
    """Where API keys are."""

    api_keys_file: Path | None = Field(
        None, description="the file of API keys, which python -m api keys makes; looked at every second"
    )


class ServingSettings(KeySettings, LogSettings):
    """How HTTP is served: where, to whom, and how much of it."""

    api_host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 for all")
    api_port: int = Field(3000, ge=0, le=65535, description="port to listen on; 0 takes any free one")
    api_open: bool = Field(False, description="true: everybody who reaches the API may read and send; no API keys")
    api_hsts_seconds: int = Field(
        0, ge=0, description="where all access is over TLS: for how long browsers insist on it; 0: not said"
    )
    api_max_connections: int = Field(1000, ge=1, description="most open connections; one more is answered with 503")
    api_max_headers: int = Field(64, ge=8, description="most headers of a request")
    api_max_header_bytes: int = Field(16384, ge=1024, description="most bytes of its headers")
    api_max_url_bytes: int = Field(65536, ge=1024, description="most bytes of its address; 500 vehicles take 38000")
    api_head_timeout_seconds: float = Field(10, gt=0, description="address and headers must be there within")
    api_keep_alive_seconds: int = Field(5, ge=1, description="an idle connection is closed after")
    cors_origins: Annotated[str | None, AfterValidator(_exact_origins)] = Field(
        None, description="web pages elsewhere that may ask: exact origins with commas between; unset: none"
    )
    answer_taken_within_seconds: float = Field(
        30, gt=0, description="a client that takes nothing of its answer for so long is cut off"
    )

    @property
    def origins(self) -> list[str]:
        """Of CORS_ORIGINS, one by one."""
        return _split(self.cors_origins)


class GatewaySettings(ServingSettings, KafkaSettings):
    """What `python -m api --only ingestion` reads from the environment; it needs no database."""

    retention_days: RetentionDays = 400
    ingestion_acknowledged_within_seconds: float = Field(
        5, gt=0, le=300, description="a reading that Kafka has not acknowledged by then is answered with 503"
    )
    ingestion_body_within_seconds: float = Field(
        10, gt=0, le=300, description="a body that has not arrived by then is answered with 408"
    )
    ingestion_batch_max_items: int = Field(5000, ge=1, description="most readings in one batch; more: 413")
    ingestion_batch_max_bytes: int = Field(2_097_152, ge=1024, description="largest body of a batch; more: 413")
    ingestion_max_readings_in_flight: int = Field(
        20_000, ge=1, description="most readings that wait for Kafka at once; more: 429"
    )
    ingestion_max_requests_in_flight: int = Field(
        1000, ge=1, description="most requests that wait for Kafka at once; more: 429"
    )
    ingestion_max_bytes_in_flight: int = Field(
        33_554_432, ge=1024, description="most bytes of bodies that are held at once; more: 429"
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

    database_read_url: DatabaseUrl | None = Field(None, description="a replica to read from; unset: DATABASE_URL")
    database_read_fallback: Literal["fail", "primary"] = Field(
        "fail",
        description="what happens to questions while the replica is away or too old: 503, or DATABASE_URL answers",
    )
    read_staleness_limit_seconds: float = Field(30.0, gt=0, description="a replica further behind is not read from")
    database_pool_size: int = Field(20, ge=1, le=1000, description="most connections to the database")
    ingestion_enabled: bool = Field(True, description="whether readings may be sent over HTTP")

    @property
    def read_url(self) -> SecretStr:
        """Where queries go."""
        return self.database_read_url or self.database_url
