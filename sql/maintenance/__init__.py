"""Housekeeping of the database: partitions, rollups, fleet evaluation, trends, statistics, folding, retention.

In: settings. Out: tables kept up to date, alerts in the outbox, archived months, metrics. Start at `scheduler.py`.
"""
