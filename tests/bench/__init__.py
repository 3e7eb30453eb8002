"""Benchmarks of the whole engine on a real Kafka and a real PostgreSQL: `make bench`; docs/benchmarks.md explains the figures."""
