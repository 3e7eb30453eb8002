"""The Kafka client: starting, checking and closing it, subscribing, static membership.

Only this room depends on aiokafka's private attributes and classes.
"""
