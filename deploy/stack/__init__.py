"""The local stack: a real Kafka and a real PostgreSQL without containers, for the demo, the tests and the benchmarks.

Settings -> external servers, containers, or servers from Python packages and jars -> `Servers`. In: KAFKA_BOOTSTRAP_SERVERS,
DATABASE_URL, LOCAL_STACK and a data directory. Out: the addresses of servers that accept connections (`resolve.servers`).
"""
