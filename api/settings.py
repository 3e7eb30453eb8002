"""Settings of the API and of the ingestion gateway, from the environment."""

import re
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from schemas.config.database_url import DatabaseUrl, check_database_url
from schemas.config.environment import Environment
from schemas.config.settings import (
    ArchiveDirectory,
    DatabaseSettings,
    JudgementSettings,
    KafkaSettings,
    LogSettings,
    RetentionDays,
)
from schemas.tracing.settings import TracingSettings

_CELL_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
_ORIGIN: Final = re.compile(r"https?://[a-z0-9.-]+(:\d{1,5})?|https?://\[[0-9a-f:]+\](:\d{1,5})?")


def _exact_origins(listed: str | None) -> str | None:
    for origin in _split(listed):
        if not _ORIGIN.fullmatch(origin):
            raise ValueError(
                f"{origin} is not an origin: expected https://host or https://host:port in lower case, without a path"
            )
    return listed


def _split(listed: str | None) -> list[str]:
    return [each.strip() for each in listed.split(",") if each.strip()] if listed else []


def _parse_cells(listed: str) -> dict[str, SecretStr]:
    """The URL of each cell by its name. Messages quote no URL, because it may contain a password."""
    cells: dict[str, SecretStr] = {}
    for number, entry in enumerate(listed.split(), 1):
        name, _, url = entry.partition("=")
        if not _CELL_NAME.fullmatch(name):
            raise ValueError(
                f"entry {number} must have the form name=postgresql://user:password@host:port/database, with a name of up to "
                "32 lower-case letters, digits and hyphens; entries are separated by spaces or new lines"
            )
        if name in cells:
            raise ValueError(f"the cell {name} is listed twice")
        try:
            cells[name] = check_database_url(SecretStr(url))
        except ValueError as error:
            raise ValueError(f"the URL of the cell {name}: {error}") from None
    return cells


def _valid_cells(listed: SecretStr | None) -> SecretStr | None:
    if listed:
        _parse_cells(listed.get_secret_value())
    return listed


class KeySettings(Environment):
    """Settings of `python -m api keys`."""

    api_keys_file: Path | None = Field(
        None, description="the file of API keys, managed with python -m api keys; checked for changes every second"
    )


class ServingSettings(KeySettings, LogSettings):
    """HTTP: address, access and limits."""

    api_host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0: all")
    api_port: int = Field(3000, ge=0, le=65535, description="port to listen on; 0: any free port")
    api_open: bool = Field(False, description="true: anyone who reaches the API may read and ingest, without API keys")
    api_hsts_seconds: int = Field(
        0,
        ge=0,
        description="max-age of Strict-Transport-Security, if all access is over TLS; 0: the header is not sent",
    )
    api_max_connections: int = Field(1000, ge=1, description="maximum of open connections; above it: 503")
    api_max_headers: int = Field(64, ge=8, description="maximum number of headers in a request; above it: 431")
    api_max_header_bytes: int = Field(
        16384, ge=1024, description="maximum size of the headers of a request; above it: 431"
    )
    api_max_url_bytes: int = Field(
        65536, ge=1024, description="maximum size of the URL of a request (500 vehicle ids take 38000); above it: 414"
    )
    api_head_timeout_seconds: float = Field(
        10, gt=0, description="time in which the URL and the headers of a request must arrive; after it: 408"
    )
    api_keep_alive_seconds: int = Field(5, ge=1, description="time after which an idle connection is closed")
    cors_origins: Annotated[str | None, AfterValidator(_exact_origins)] = Field(
        None, description="origins of other web pages that may use the API (CORS), separated by commas; unset: none"
    )
    answer_taken_within_seconds: float = Field(
        30, gt=0, description="a client that reads nothing of its response for this long is disconnected"
    )

    @property
    def origins(self) -> list[str]:
        """CORS_ORIGINS as a list."""
        return _split(self.cors_origins)


class GatewaySettings(ServingSettings, KafkaSettings, TracingSettings):
    """Settings of `python -m api --only ingestion`, which needs no database."""

    retention_days: RetentionDays = 400
    ingestion_acknowledged_within_seconds: float = Field(
        5, gt=0, le=300, description="time in which Kafka must acknowledge a reading; after it: 503"
    )
    ingestion_body_within_seconds: float = Field(
        10, gt=0, le=300, description="time in which the body of a request must arrive; after it: 408"
    )
    ingestion_batch_max_items: int = Field(
        5000, ge=1, description="maximum number of readings in a batch; above it: 413"
    )
    ingestion_batch_max_bytes: int = Field(
        2_097_152, ge=1024, description="maximum size of the body of a batch; above it: 413"
    )
    ingestion_max_readings_in_flight: int = Field(
        20_000, ge=1, description="maximum number of readings waiting for Kafka; above it: 429"
    )
    ingestion_max_requests_in_flight: int = Field(
        1000, ge=1, description="maximum number of requests waiting for Kafka; above it: 429"
    )
    ingestion_max_bytes_in_flight: int = Field(
        33_554_432, ge=1024, description="maximum size of all request bodies in memory; above it: 429"
    )

    @model_validator(mode="after")
    def _a_full_batch_can_be_admitted(self) -> Self:
        if self.ingestion_batch_max_items > self.ingestion_max_readings_in_flight:
            raise ValueError("INGESTION_BATCH_MAX_ITEMS exceeds INGESTION_MAX_READINGS_IN_FLIGHT")
        if self.ingestion_batch_max_bytes > self.ingestion_max_bytes_in_flight:
            raise ValueError("INGESTION_BATCH_MAX_BYTES exceeds INGESTION_MAX_BYTES_IN_FLIGHT")
        return self


class ApiSettings(GatewaySettings, DatabaseSettings, JudgementSettings):
    """Settings of `python -m api`."""

    database_cells: Annotated[SecretStr | None, AfterValidator(_valid_cells)] = Field(
        None,
        description="the databases of several cells, which are answered for together, as name=postgresql://..., separated by "
        "spaces or new lines; unset: one database, DATABASE_URL",
    )
    database_read_url: DatabaseUrl | None = Field(None, description="a replica to read from; unset: DATABASE_URL")
    database_read_fallback: Literal["fail", "primary"] = Field(
        "fail",
        description="reads while the replica is unavailable or too far behind: answered with 503, or from DATABASE_URL",
    )
    read_staleness_limit_seconds: float = Field(
        30.0, gt=0, description="replication lag above which the replica is not read from"
    )
    database_pool_size: int = Field(20, ge=1, le=1000, description="maximum number of connections to each database")
    database_pooler: Literal["none", "transaction", "transaction_prepared"] = Field(
        "none",
        description="whether DATABASE_URL and DATABASE_READ_URL lead to a pooler in transaction mode; transaction_prepared: to "
        "one that supports prepared statements (PgBouncer from 1.21)",
    )
    archive_directory: ArchiveDirectory = None
    ingestion_enabled: bool = Field(True, description="whether readings can be sent over HTTP")

    @property
    def cells(self) -> dict[str, SecretStr]:
        """The URL of each cell of DATABASE_CELLS by its name, in the order given."""
        return _parse_cells(self.database_cells.get_secret_value()) if self.database_cells else {}

    @model_validator(mode="after")
    def _cells_have_their_own_replicas_and_gateways(self) -> Self:
        if self.database_cells and self.database_read_url:
            raise ValueError("DATABASE_CELLS and DATABASE_READ_URL exclude each other: list the replicas as the cells")
        if self.database_cells and self.ingestion_enabled:
            raise ValueError(
                "with DATABASE_CELLS, set INGESTION_ENABLED=false: devices send their readings to the gateway of their cell"
            )
        return self
