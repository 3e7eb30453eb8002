"""TLS with certificate files that may be replaced while a process runs."""

import ssl
from collections.abc import Callable
from typing import Any, Self


class RenewedContext(ssl.SSLContext):
    """Reads its files again for each connection: renewed certificates need no restart. Open connections keep theirs."""

    read: Callable[[], ssl.SSLContext]

    def __new__(cls, read: Callable[[], ssl.SSLContext]) -> Self:
        """A context for clients. `read` loads the files; what it raises fails a connection, and the next one reads them again."""
        context = super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)
        context.read = read
        return context

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        """The TLS part of a new connection; asyncio and uvloop call this."""
        return self.read().wrap_bio(*arguments, **options)


def check_files(read: Callable[[], ssl.SSLContext], settings: str) -> None:
    """Load certificates once, to name the settings that are wrong at the start of a process.

    Raises:
        ValueError: they cannot be used.
    """
    try:
        read()
    except OSError as error:  # ssl.SSLError is one
        raise ValueError(f"the files of {settings} cannot be used: {error}") from None
