"""Shared by several tests: databases, topics, running services, commands, a browser, Prometheus, builders of test data."""
