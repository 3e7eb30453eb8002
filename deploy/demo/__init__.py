"""The demo: the whole system on this machine, as in production but smaller. Without a person it is the smoke test.

Local stack -> topics, schema, assignments -> a month of folded days -> two consumers, the read service, the fleet -> the hours
since then, through Kafka -> live readings.
"""
