"""Clocks that are wrong: that of this process, and that of a database."""

import sys
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Self

import pytest

from tests.support.database import Database

PACKAGES = ("api.", "consumer.", "sql.")


def shift_host_clock(patch: pytest.MonkeyPatch, offset: timedelta) -> None:
    """Makes `datetime.now()` wrong in every loaded module of the product, whatever it uses it for."""

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            right = datetime.now(UTC) + offset
            return cls.fromtimestamp(right.timestamp(), tz)

    for name, module in list(sys.modules.items()):
        if name.startswith(PACKAGES) and getattr(module, "datetime", None) is datetime:
            patch.setattr(module, "datetime", Shifted)


async def shift_database_clock(database: Database, offset: timedelta) -> None:
    """Makes now() and clock_timestamp() wrong in the queries of new sessions. Defaults of columns and functions stay right."""
    seconds = offset.total_seconds()
    await database.execute(
        f"""
        CREATE OR REPLACE FUNCTION public.now() RETURNS timestamptz LANGUAGE sql STABLE AS
            'SELECT pg_catalog.now() + interval ''{seconds} s''';
        CREATE OR REPLACE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
            'SELECT pg_catalog.clock_timestamp() + interval ''{seconds} s''';
        GRANT EXECUTE ON FUNCTION public.now, public.clock_timestamp TO PUBLIC;
        ALTER DATABASE {database.name} SET search_path = public, pg_catalog;
        """
    )
