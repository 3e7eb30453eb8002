"""The local stack: a real Kafka and a real PostgreSQL from packages alone, for the demo, the tests and the benchmarks.

Flow: settings say where the servers are -> external, containers, or jars and binaries from packages -> `Servers`, addresses that
answer. In: KAFKA_BOOTSTRAP_SERVERS, DATABASE_URL, LOCAL_STACK, a data directory. Out: `resolve.servers(...)`.
"""
