"""TCP ports of this machine: free ones, and a clear word when one is taken."""

import socket


class PortTakenError(Exception):
    """Another program listens where one of our servers should."""


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
