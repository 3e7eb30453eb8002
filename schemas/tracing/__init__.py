"""Traces: spans of a process and the W3C trace context of requests and Kafka records.

A process asks `settings.start_tracer` for its tracer. Without a collector that is a tracer that does nothing, and no package of
OpenTelemetry is imported.
"""
