"""The fleet: meters and vehicles that publish one reading a minute to Kafka, and misbehave on request.

Flow: timetable (who is due) -> charging (what it reads) -> misbehave (twice, late, malformed) -> producer -> Kafka.
In: real charging sessions, a seed, the wall clock. Out: records on the topics of the contract.
"""
