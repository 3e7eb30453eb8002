"""Deterministic simulation: the consumer's own code under virtual time, against models of Kafka and PostgreSQL.

seed -> Plan (settings, records, faults) -> World (processes, broker, database) -> invariants after every transaction -> Outcome

One seed decides everything: the faults, the latencies, and the order in which the processes run. The same seed gives the
same run.
"""
