"""Detection of clients that do not read their response, which would hold a connection and its buffer forever."""

from collections.abc import Collection
from typing import Any

import structlog

log = structlog.get_logger(__name__)


class StalledClients:
    """Tracks the unsent bytes of every connection and closes those that make no progress within a timeout.

    A client that reads slowly makes progress and keeps its connection: event streams stay open for days.
    """

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout = timeout_seconds
        self._fewest_unsent: dict[
            Any, tuple[int, float]
        ] = {}  # by connection: fewest unsent bytes, seen first at that time

    def close_stalled(self, connections: Collection[Any], now: float) -> int:
        """Closes the stalled connections and returns how many they were. To be called about once a second.

        Args:
            connections: protocols of uvicorn, each with its `transport`.
            now: seconds of a monotonic clock.
        """
        previous, self._fewest_unsent = self._fewest_unsent, {}
        closed = 0
        for connection in list(connections):
            unsent = connection.transport.get_write_buffer_size()
            if not unsent:
                continue
            fewest, since = previous.get(connection, (unsent, now))
            if unsent < fewest:
                fewest, since = unsent, now
            if now - since >= self._timeout:
                log.warning("stalled_client_disconnected", bytes=unsent, seconds=round(now - since, 1))
                connection.close_stalled()
                closed += 1
            else:
                self._fewest_unsent[connection] = (fewest, since)
        return closed
