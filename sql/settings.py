"""Settings of the database's own commands (migrate, maintain, assign)."""

from pydantic import Field

from schemas.settings import DatabaseSettings, LogSettings, RetentionDays


class SqlSettings(DatabaseSettings, LogSettings):
    """What `python -m sql` reads from the environment."""

    retention_days: RetentionDays = 400
    dead_letter_retention_days: int = Field(
        90, ge=1, description="how long dead letters are kept after they were replayed or discarded"
    )
    maintain_interval_seconds: int = Field(
        3600, ge=1, description="pause between two rounds of `python -m sql maintain`"
    )
