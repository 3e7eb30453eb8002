"""Settings of the read service."""

from typing import Literal

from pydantic import Field, SecretStr

from schemas.settings import DatabaseSettings, JudgementSettings, KafkaSettings, LogSettings, RetentionDays


class ApiSettings(KafkaSettings, DatabaseSettings, LogSettings, JudgementSettings):
    """What `python -m api` reads from the environment."""

    database_read_url: SecretStr | None = Field(None, description="a replica to read from; unset: DATABASE_URL")
    database_read_fallback: Literal["fail", "primary"] = Field(
        "fail",
        description="what happens to questions while the replica is away or too old: 503, or DATABASE_URL answers",
    )
    read_staleness_limit_seconds: float = Field(30.0, gt=0, description="a replica further behind is not read from")
    database_pool_size: int = Field(20, ge=1, le=1000, description="most connections to the database")
    api_host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 for all")
    api_port: int = Field(3000, ge=0, le=65535)
    ingestion_enabled: bool = Field(True, description="whether readings may be sent over HTTP")
    retention_days: RetentionDays = 400

    @property
    def read_url(self) -> SecretStr:
        """Where queries go."""
        return self.database_read_url or self.database_url
