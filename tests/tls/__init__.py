"""Kafka and PostgreSQL behind TLS, as a deployment should have them: certificates of an authority of the tests' own, real servers."""
