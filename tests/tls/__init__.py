"""Kafka and PostgreSQL with TLS, as a deployment should run them: real servers with certificates of a test authority."""
