"""TCP ports of this machine: free ones, and a clear error when a wanted one is taken."""

import secrets
import socket
from typing import Final

# Below the range from which systems take ports for outgoing connections. A port from that range could be taken while a server
# restarts.
CANDIDATES: Final = range(20_000, 32_000)


class PortTakenError(Exception):
    """Another program listens on the port of one of our servers."""


def free_port() -> int:
    """A port on which nothing listens at the moment."""
    while True:
        port = secrets.choice(CANDIDATES)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def ensure_free(port: int, what: str, setting: str) -> None:
    """Checks that nothing listens on the port.

    Raises:
        PortTakenError: the port is taken; the message names the setting that chooses another one.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise PortTakenError(
                f"{what} cannot listen on port {port}: {error.strerror}; choose another with {setting}"
            ) from None
