"""A model of PostgreSQL: transactions, row locks, sessions, and the statements of the consumer.

client (asyncpg's pool and connection) -> Server (sessions, locks, commits) -> statements (one generator for each named query)
"""
