"""Reads telemetry from Kafka and writes it to PostgreSQL exactly once.

Offsets are stored in the same transaction as the rows, so a batch is either committed with its offsets or not at all. Input:
the topics of readings and vehicle-meter assignments. Output: history, live status, assignments, dead letters and the ledger.
Start at `pipeline/poll_loop.py`, then `storage/store.py`.
"""
