"""Kafka record -> decode -> Batch -> store (one transaction) -> metrics: the engine of the project.

In: records of the topics of readings and assignments. Out: history, live status, assignments, dead letters and the ledger in
PostgreSQL, each record exactly once. It knows Kafka and the queries of sql/, and nothing of HTTP services.
"""
