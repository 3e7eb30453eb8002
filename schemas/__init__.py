"""What crosses a boundary of the system: readings in, answers out, the environment a process starts with, the lines it logs.

In: bytes of a record or of a request body, environment variables. Out: validated values, or the reasons why they are none.
This room knows neither Kafka's client nor PostgreSQL nor FastAPI.
"""
