"""Readings over HTTP -> Kafka: parse, admit, produce, acknowledge."""
