"""How much the gateway takes on at once: readings and requests that wait for Kafka, bytes of bodies that are held.

What is above a bound is refused at once. A queue without a bound would only make every answer late.
"""

from api.settings import GatewaySettings


class Overloaded(Exception):  # noqa: N818 - a state, and not for ever
    """A bound is reached. The client may try again in a moment; nothing was taken."""


class Admission:
    """Counts what is in flight. Who was let in must leave, whatever happens."""

    def __init__(self, *, readings: int, requests: int, size: int) -> None:
        self._most_readings = readings
        self._most_requests = requests
        self._most_bytes = size
        self.readings = 0
        self.requests = 0
        self.bytes = 0

    @classmethod
    def of(cls, settings: GatewaySettings) -> "Admission":
        """As the settings say."""
        return cls(
            readings=settings.ingestion_max_readings_in_flight,
            requests=settings.ingestion_max_requests_in_flight,
            size=settings.ingestion_max_bytes_in_flight,
        )

    def check(self) -> None:
        """Whether one more request has a chance, before its body is looked at.

        Raises:
            Overloaded: some bound is reached already.
        """
        if self.requests >= self._most_requests:
            raise Overloaded(f"{self._most_requests} requests are in flight; try again in a moment")
        if self.readings >= self._most_readings:
            raise Overloaded(f"{self._most_readings} readings are in flight; try again in a moment")
        if self.bytes >= self._most_bytes:
            raise Overloaded(f"{self._most_bytes} bytes of requests are in flight; try again in a moment")

    def enter(self, readings: int) -> None:
        """Let a request with so many readings in.

        Raises:
            Overloaded: they would exceed a bound; nothing was counted.
        """
        if self.requests >= self._most_requests or self.readings + readings > self._most_readings:
            raise Overloaded(
                f"{self.readings} of at most {self._most_readings} readings and {self.requests} of at most "
                f"{self._most_requests} requests are in flight: no room for {readings} more; try again in a moment"
            )
        self.requests += 1
        self.readings += readings

    def leave(self, readings: int) -> None:
        """It is answered."""
        self.requests -= 1
        self.readings -= readings

    def hold(self, size: int) -> None:
        """Keep so many more bytes of a body.

        Raises:
            Overloaded: they would exceed the bound; nothing was counted.
        """
        if self.bytes + size > self._most_bytes:
            raise Overloaded(f"{self.bytes} bytes of requests are in flight; try again in a moment")
        self.bytes += size

    def release(self, size: int) -> None:
        """They are gone."""
        self.bytes -= size
