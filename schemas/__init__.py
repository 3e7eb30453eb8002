"""Everything that crosses a boundary of the system: records in, responses out, settings, log lines.

In: bytes of a record or a request body, environment variables. Out: validated values, or the reasons why they are not valid.
The package knows neither Kafka clients nor PostgreSQL nor FastAPI.
"""

import sys
from importlib import import_module


def _import_structlog_without_rich() -> None:
    """Imports structlog as if rich, which typer brings with it, were not installed.

    structlog imports it for tracebacks that no log of ours has, at each start of a process.
    """
    if "rich" not in sys.modules:
        sys.modules["rich"] = None  # type: ignore[assignment]
        import_module("structlog")
        del sys.modules["rich"]


_import_structlog_without_rich()
