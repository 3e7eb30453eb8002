"""The database's room: migrations, named queries in .sql files, partitions, assignments, and how to connect.

In: settings and values. Out: a schema, rows. It knows asyncpg and PostgreSQL, and neither Kafka nor FastAPI.
"""
