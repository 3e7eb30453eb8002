"""The HTTP API: answers questions from PostgreSQL and accepts readings for Kafka.

A request passes the limits of `server/`, the middleware that `app.py` lists, and a route. Reads go through `database/`; readings
go to Kafka through `ingestion/`. Nothing here knows the consumer: readings become visible through Kafka and the database.
"""
