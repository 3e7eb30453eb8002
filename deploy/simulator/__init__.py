"""The simulated fleet: meters and vehicles that publish one reading a minute to Kafka, with anomalies on request.

Timetable (readings that are due) -> charging (their values) -> anomalies (duplicate, late, malformed) -> producer -> Kafka.
In: real charging sessions, a seed, the wall clock. Out: records on the topics of the contract.
"""
