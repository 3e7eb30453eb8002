"""The identity of a process towards Kafka: OAuth tokens, sessions that are renewed in time, and client certificates.

In: the settings of `schemas.config`. Out: what the Kafka clients of a process share.
"""
