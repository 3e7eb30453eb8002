"""What the gateway counts: readings by topic and outcome, never by device."""

from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge

from api.ingestion.producer import ReadingProducer

Outcome = Literal["acknowledged", "invalid", "forbidden", "unavailable", "overloaded"]
OUTCOMES: Final[tuple[Outcome, ...]] = ("acknowledged", "invalid", "forbidden", "unavailable", "overloaded")


class GatewayMetrics:
    """The gateway's part of a registry."""

    def __init__(self, registry: CollectorRegistry, gateway: ReadingProducer, topics: tuple[str, ...]) -> None:
        readings = Counter(
            "energy_gateway_readings_total",
            "Readings sent over HTTP: acknowledged by Kafka, or why not",
            ("topic", "outcome"),
            registry=registry,
        )
        self._readings = {(topic, outcome): readings.labels(topic, outcome) for topic in topics for outcome in OUTCOMES}
        self._refused = Counter(
            "energy_gateway_requests_refused_total",
            "Requests of which nothing was taken, by the status they were answered with",
            ("status",),
            registry=registry,
        )
        given_up = Counter(
            "energy_gateway_given_up_total",
            "Times that Kafka had not acknowledged in time, and all that was in flight was given up",
            registry=registry,
        )
        gateway.on_given_up = given_up.inc
        for name, what, ask in (
            ("energy_gateway_in_flight", "Readings that wait for Kafka", lambda: gateway.admission.readings),
            ("energy_gateway_requests_in_flight", "Requests that wait for Kafka", lambda: gateway.admission.requests),
            ("energy_gateway_bytes_in_flight", "Bytes of bodies that are held", lambda: gateway.admission.bytes),
            ("energy_gateway_ready", "1 when readings can be sent", lambda: gateway.waiting_for() is None),
        ):  # fmt: skip
            Gauge(name, what, registry=registry).set_function(ask)

    def count(self, topic: str, outcome: Outcome, readings: int = 1) -> None:
        """So many readings have come to an end."""
        self._readings[topic, outcome].inc(readings)

    def refused(self, status: int) -> None:
        """A request was refused as a whole."""
        self._refused.labels(status).inc()
