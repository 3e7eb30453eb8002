"""TCP ports of this machine: free ones, and a clear word when one is taken."""

import secrets
import socket
from typing import Final

# Below the ports that systems give to outgoing connections: one of those could take the port of a server that restarts.
CANDIDATES: Final = range(20_000, 32_000)


class PortTakenError(Exception):
    """Another program listens where one of our servers should."""


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    while True:
        port = secrets.choice(CANDIDATES)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def ensure_free(port: int, what: str, setting: str) -> None:
    """Nothing when the port is free.

    Raises:
        PortTakenError: and says which setting chooses another.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise PortTakenError(
                f"{what} cannot listen on port {port}: {error.strerror}; choose another with {setting}"
            ) from None
