"""Writes batches to PostgreSQL, one transaction per batch.

Input: batches of `records`. Output: history, live status, assignments, dead letters, stored offsets and the ledger's counts.
"""
