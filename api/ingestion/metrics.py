"""Metrics of the ingestion gateway: readings by topic and outcome, never by device."""

from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge

from api.ingestion.producer import ReadingProducer

Outcome = Literal["acknowledged", "invalid", "forbidden", "unavailable", "overloaded"]
OUTCOMES: Final[tuple[Outcome, ...]] = ("acknowledged", "invalid", "forbidden", "unavailable", "overloaded")


class GatewayMetrics:
    def __init__(self, registry: CollectorRegistry, producer: ReadingProducer, topics: tuple[str, ...]) -> None:
        readings = Counter(
            "energy_gateway_readings_total",
            "Readings sent over HTTP, by outcome: acknowledged by Kafka, or why not",
            ("topic", "outcome"),
            registry=registry,
        )
        self._readings = {(topic, outcome): readings.labels(topic, outcome) for topic in topics for outcome in OUTCOMES}
        self._rejected = Counter(
            "energy_gateway_requests_refused_total",
            "Requests rejected as a whole, by response status",
            ("status",),
            registry=registry,
        )
        discarded = Counter(
            "energy_gateway_given_up_total",
            "Times that Kafka did not acknowledge in time and all readings in flight were discarded",
            registry=registry,
        )
        producer.on_discard = discarded.inc
        admission = producer.admission
        for name, help_text, value in (
            ("energy_gateway_in_flight", "Readings waiting for Kafka's acknowledgement", lambda: admission.readings),
            ("energy_gateway_requests_in_flight", "Requests waiting for Kafka's acknowledgement", lambda: admission.requests),
            ("energy_gateway_bytes_in_flight", "Bytes of request bodies in memory", lambda: admission.bytes),
            ("energy_gateway_ready", "1 when readings can be sent, else 0", lambda: producer.waiting_for() is None),
        ):  # fmt: skip
            Gauge(name, help_text, registry=registry).set_function(value)

    def count(self, topic: str, outcome: Outcome, readings: int = 1) -> None:
        self._readings[topic, outcome].inc(readings)

    def count_rejected_request(self, status: int) -> None:
        self._rejected.labels(status).inc()
