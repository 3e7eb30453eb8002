"""Answers that nobody takes: a client that asks and never reads is cut off, so that it holds no connection and no memory.

Who takes some of it, however slowly, keeps the connection: the stream of events lives for days.
"""

from collections.abc import Collection
from typing import Any

import structlog

log = structlog.get_logger(__name__)


class StalledClients:
    """Looks at the connections of a server, and remembers how little of each one's answer was left when."""

    def __init__(self, taken_within_seconds: float) -> None:
        self._patience = taken_within_seconds
        self._least: dict[Any, tuple[int, float]] = {}

    def cut_off(self, connections: Collection[Any], now: float) -> int:
        """Abort the connections whose clients have taken nothing for too long; how many they were.

        Args:
            connections: uvicorn's protocols, each with its `transport`.
            now: a clock in seconds that does not jump.
        """
        least, self._least = self._least, {}
        cut = 0
        for connection in list(connections):
            left = connection.transport.get_write_buffer_size()
            if not left:
                continue
            before, since = least.get(connection, (left, now))
            if left < before or connection not in least:
                before, since = left, now
            if now - since >= self._patience:
                log.warning("answer_not_taken", bytes=left, seconds=round(now - since, 1))
                connection.cut_off()
                cut += 1
            else:
                self._least[connection] = (before, since)
        return cut
