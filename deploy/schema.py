"""The command `python -m deploy.schema`, which writes the schema that the migrations create to sql/schema.sql for review.

Partitions are left out: they depend on the calendar, not on a migration.
"""

import asyncio
import re
import subprocess
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from deploy.stack.postgres import BINARIES
from deploy.stack.resolve import ROOT, servers
from sql.migrate import migrate
from sql.settings import SqlSettings

SCHEMA: Final = Path(__file__).parents[1] / "sql" / "schema.sql"
HEAD: Final = "-- Written by `make schema` from the migrations; a test compares. Partitions are left out.\n\n"
PER_SERVER: Final = re.compile(r"^(--.*|\\(un)?restrict .*|SET .*|SELECT pg_catalog\.set_config.*)\n", re.MULTILINE)


def dump(url: str) -> str:
    """The schema of a migrated database, without anything that depends on the server's version, the calendar or chance."""
    command = [
        str(BINARIES / "pg_dump"),
        "--schema-only",
        "--no-owner",
        "--exclude-table=*_y[0-9]*m[0-9]*",
        "--exclude-extension=pg_stat_statements",
        url,
    ]
    dumped = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return HEAD + re.sub(r"\n{3,}", "\n\n", PER_SERVER.sub("", dumped)).strip() + "\n"


def main() -> None:
    """Migrates an empty database and writes its schema."""
    with servers(ROOT / "schema", report=lambda _: None, fresh=True) as stack:
        asyncio.run(migrate(SqlSettings(database_url=SecretStr(stack.database_url))))
        SCHEMA.write_text(dump(stack.database_url))


if __name__ == "__main__":
    main()
