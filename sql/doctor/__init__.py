"""Health checks of the database server and of the engine.

In: a read-only connection. Out: findings, each with a level, a description and advice. Start at `checks.py`.
"""
