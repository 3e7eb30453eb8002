"""The read service and the HTTP gateway: answers over HTTP, from PostgreSQL; readings over HTTP, into Kafka.

In: requests. Out: JSON of schemas.answers, problems as RFC 9457, records on the telemetry topics. It reads with the queries of
sql/ and knows nothing of the consumer: what it takes in comes back to it only through Kafka and the database.
"""
