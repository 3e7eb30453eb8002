"""The HTTP API: answers queries from PostgreSQL and accepts readings for Kafka.

A request passes the limits of `server/`, the middleware that `app.py` lists, and a route. Queries go through `database/`;
readings go to Kafka through `ingestion/`. The API does not depend on the consumer: a reading is visible once the consumer has
stored it.
"""

from importlib.util import find_spec

if find_spec("fastapi") is None:
    raise ModuleNotFoundError(
        "the API needs the extra `api`: pip install 'energy-ingestion-engine[api]'", name="fastapi"
    )
