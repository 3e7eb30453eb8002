"""The Kafka client: starting, checking and closing it, subscribing, static membership.

Everything that touches aiokafka's internals is here.
"""
