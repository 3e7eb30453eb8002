"""Settings of the read service."""

import re
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, Field, SecretStr

from schemas.settings import DatabaseSettings, Environment, JudgementSettings, KafkaSettings, LogSettings, RetentionDays

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


class ApiSettings(KeySettings, KafkaSettings, DatabaseSettings, LogSettings, JudgementSettings):
    """What `python -m api` reads from the environment."""

    database_read_url: SecretStr | None = Field(None, description="a replica to read from; unset: DATABASE_URL")
    database_pool_size: int = Field(20, ge=1, le=1000, description="most connections to the database")
    api_host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 for all")
    api_port: int = Field(3000, ge=0, le=65535)
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
    ingestion_enabled: bool = Field(True, description="whether readings may be sent over HTTP")
    retention_days: RetentionDays = 400

    @property
    def origins(self) -> list[str]:
        """Of CORS_ORIGINS, one by one."""
        return _split(self.cors_origins)

    @property
    def read_url(self) -> SecretStr:
        """Where queries go."""
        return self.database_read_url or self.database_url
