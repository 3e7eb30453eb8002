"""Admission control: bounds on the readings and requests in flight, and on the memory that request bodies take.

A request above a bound is rejected at once. An unbounded queue would only make every response late.
"""

from api.problems import Overloaded
from api.settings import GatewaySettings


class Admission:
    """Counts what is in flight.

    Every acquire() must be paired with a release(), every reserve_bytes() with a free_bytes().
    """

    def __init__(self, *, max_readings: int, max_requests: int, max_bytes: int) -> None:
        self._max_readings = max_readings
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self.readings = 0
        self.requests = 0
        self.bytes = 0

    @classmethod
    def from_settings(cls, settings: GatewaySettings) -> "Admission":
        return cls(
            max_readings=settings.ingestion_max_readings_in_flight,
            max_requests=settings.ingestion_max_requests_in_flight,
            max_bytes=settings.ingestion_max_bytes_in_flight,
        )

    def check(self) -> None:
        """Rejects a request early, before its body is read.

        Raises:
            Overloaded: a bound is already reached.
        """
        if self.requests >= self._max_requests:
            raise Overloaded(f"{self._max_requests} requests are in flight; try again in a moment")
        if self.readings >= self._max_readings:
            raise Overloaded(f"{self._max_readings} readings are in flight; try again in a moment")
        if self.bytes >= self._max_bytes:
            raise Overloaded(f"{self._max_bytes} bytes of requests are in flight; try again in a moment")

    def acquire(self, readings: int) -> None:
        """Admits one request with this many readings.

        Raises:
            Overloaded: the request would exceed a bound; nothing was counted.
        """
        if self.requests >= self._max_requests or self.readings + readings > self._max_readings:
            raise Overloaded(
                f"{self.readings} of at most {self._max_readings} readings and {self.requests} of at most "
                f"{self._max_requests} requests are in flight: no room for {readings} more; try again in a moment"
            )
        self.requests += 1
        self.readings += readings

    def release(self, readings: int) -> None:
        """Ends what acquire() admitted, with the same number of readings."""
        self.requests -= 1
        self.readings -= readings

    def reserve_bytes(self, size: int) -> None:
        """Reserves memory for this many more bytes of a request body.

        Raises:
            Overloaded: the bytes would exceed the bound; nothing was reserved.
        """
        if self.bytes + size > self._max_bytes:
            raise Overloaded(f"{self.bytes} bytes of requests are in flight; try again in a moment")
        self.bytes += size

    def free_bytes(self, size: int) -> None:
        """Releases the bytes reserved for a request body."""
        self.bytes -= size
