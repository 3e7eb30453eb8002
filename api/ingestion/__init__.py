"""Readings over HTTP -> Kafka: read the body, parse, admit, produce, acknowledge. Start at `handlers.py`.

In: POST requests with one reading or a batch. Out: records on the telemetry topics, and a response once Kafka has them.
"""
