"""The database: migrations, named queries, maintenance, archive, doctor; `analytics` is pure arithmetic.

In: settings and values. Out: a schema, rows. The package uses asyncpg and PostgreSQL, and neither Kafka nor FastAPI.
"""
