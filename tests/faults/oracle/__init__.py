"""The oracle: computes from Kafka's log alone what the system must hold and answer, and compares it with what it does.

Kafka's log -> decode -> expected -> verdict <- tables in the database, events of the alert topic, answers of the read service

It shares no code with the engine: its rules are written from docs/contracts.md, docs/analytics.md and docs/operations.md, its
decoder is the standard library's json, and its SQL is its own. tests/structure/rules.py keeps it that way.
"""
