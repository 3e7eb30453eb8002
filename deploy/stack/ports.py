"""TCP ports of this machine: free ones, and a clear error when a wanted one is taken."""

import os
import secrets
import socket
from collections import deque
from typing import Final

# Below the range from which systems take ports for outgoing connections. A port from that range could be taken while a server
# restarts.
CANDIDATES: Final = range(20_000, 32_000)
MOST_RESERVED: Final = 256
_reserved: deque[int] = deque()  # file descriptors


class PortTakenError(Exception):
    """Another program listens on the port of one of our servers."""


def free_port() -> int:
    """A port on which nothing listens at the moment, and which no other call returns until its server has had time to listen."""
    while True:
        port = secrets.choice(CANDIDATES)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                _reserve(port)
            except OSError:
                continue
            return port


def _reserve(port: int) -> None:
    """Keeps this process and others from choosing the port, by a UDP socket with its number: our servers use TCP alone.

    The latest ports of this process stay reserved, at the longest until it ends.

    Raises:
        OSError: the port is reserved.
    """
    reservation = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        reservation.bind(("127.0.0.1", port))
    except OSError:
        reservation.close()
        raise
    _reserved.append(reservation.detach())
    if len(_reserved) > MOST_RESERVED:
        os.close(_reserved.popleft())


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
