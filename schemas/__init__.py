"""Everything that crosses a boundary of the system: records in, responses out, settings, log lines.

In: bytes of a record or a request body, environment variables. Out: validated values, or the reasons why they are not valid.
The package knows neither Kafka clients nor PostgreSQL nor FastAPI.
"""
