"""Kafka and PostgreSQL behind TLS, as a deployment should have them: real servers, certificates of an authority of the tests."""
